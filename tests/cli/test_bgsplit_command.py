"""`narrowcast bgsplit` end to end on drawn pictures; one process, one backbone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from narrowcast.cli.app import app
from narrowcast.core.errors import ClassNameError, ConfigError, SourceError, UsageError

SMALL = ["--backbone", "efficientnet-lite0@64", "--device", "cpu"]
QUICK = ["--set", "epochs.epochs=1", "--set", "training.batch_size=16"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("bgsplit") / "photos", np.random.default_rng(0)
    for name, num in (("heron", 6), ("egret", 6), ("water", 30)):
        (folder / name).mkdir(parents=True)
        hue = rng.uniform(40, 215, 3)
        for ix in range(num):
            pixels = np.clip(hue + rng.normal(0, 25, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{ix:02}.jpg")
    return folder


def narrowcast(*words: object) -> Any:
    """What the command prints as JSON; its errors as they are."""
    done = CliRunner().invoke(app, ["bgsplit", *map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_from_photos_to_a_scored_classifier(photos: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    statistics = narrowcast("split", "--data", photos, "--categories", "heron,egret", "--positives", 2, "--out", split)
    assert statistics["categories"] == {"heron": {"train": 2, "test": 2}, "egret": {"train": 2, "test": 2}}
    assert statistics["background"] == pytest.approx(21 / 25)
    run = tmp_path / "run"
    trained = narrowcast("train", "--data", photos, "--split", split, "--out", run, *SMALL, *QUICK)
    assert {one["category"] for one in trained["categories"]} == {"heron", "egret"}
    again = narrowcast("eval", run, "--data", photos, "--split", split, "--device", "cpu")
    assert again["map"] == pytest.approx(trained["map"])
    assert "mAP" in (run / "report.html").read_text()
    with pytest.raises(UsageError, match=r"was begun with .*seed = 0, not 1"):
        narrowcast("train", "--data", photos, "--split", split, "--out", run, "--seed", 1, *SMALL, *QUICK)


def test_images_with_several_labels_and_gaps(photos: Path, tmp_path: Path) -> None:
    """Half of the labels are missing; water is in no column, so that it is background."""
    rows = []
    for ix, path in enumerate(sorted(photos.rglob("*.jpg"))):
        egret = int(path.parent.name == "egret") if ix % 2 else ""
        rows.append(f"{path.relative_to(photos)},{int(path.parent.name == 'heron')},{egret}")
    table = photos / "labels.csv"
    table.write_text("path,heron,egret\n" + "".join(f"{row}\n" for row in rows))
    run = tmp_path / "run"
    trained = narrowcast("train", "--data", table, "--multi-label", "--out", run, *SMALL, *QUICK)
    scores = {one["category"]: one for one in trained["categories"]}
    assert scores["egret"]["known"] < scores["heron"]["known"]
    assert trained["map"] > 0.5  # a hue each; chance is a seventh
    again = narrowcast("eval", run, "--data", table, "--device", "cpu")
    assert again["map"] == pytest.approx(trained["map"])
    words = ["train", "--data", table, "--out", tmp_path / "no"]
    with pytest.raises(UsageError, match="--split is needed"):
        narrowcast(*words)
    with pytest.raises(UsageError, match="--split has no effect with --multi-label"):
        narrowcast(*words, "--multi-label", "--split", "x.json")
    with pytest.raises(UsageError, match="focal: has no multi-label form"):
        narrowcast(*words, "--multi-label", "--method", "focal")
    with pytest.raises(UsageError, match="with --multi-label a CSV"):
        narrowcast("train", "--data", photos, "--out", tmp_path / "no", "--multi-label")


def test_a_comparison_writes_what_other_programs_read(photos: Path, tmp_path: Path) -> None:
    labels = narrowcast("aux", "--data", photos, "--labels", "random", "--num", 4, "--out", tmp_path / "aux")
    assert labels["num_used"] == 4
    assert labels["largest_share"] == pytest.approx(11 / 42)
    assert "data:image/jpeg" in (tmp_path / "aux" / "report.html").read_text()
    options = ["--categories", 2, "--positives", 2, "--methods", "probe,bgsplit", "--draws", 2, *SMALL, *QUICK]
    options += ["--adapt", 1]
    command = ["compare", "--data", photos, "--out", tmp_path / "out", "--aux", tmp_path / "aux", *options]
    narrowcast(*command)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [(entry["method"], entry["draw"]) for entry in summary] == [
        (method, draw) for draw in (0, 1) for method in ("probe", "bgsplit")
    ]
    keys = {"method", "seed", "draw", "background", "map", "f1", "ap_per_category", "seconds"}
    assert all(keys <= entry.keys() and len(entry["ap_per_category"]) == 2 for entry in summary)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Paired differences" in page
    assert narrowcast(*command) == summary  # nothing is run again
    assert (tmp_path / "out" / "adapted" / "training.safetensors").exists()
    with pytest.raises(UsageError, match=r"was begun with adapt = 1.0, not 0.0"):
        narrowcast(*command, "--adapt", 0)
    with pytest.raises(UsageError, match=r"was begun with adapting"):
        narrowcast(*command, "--set", "adapt.trunk_rate=0.1")
    with pytest.raises(ConfigError, match=r"\[adapt\] has no effect without --adapt"):
        narrowcast(*command, "--adapt", 0, "--set", "adapt.trunk_rate=0.1")
    with pytest.raises(ConfigError, match=r"\[adapt\] trunk_rate = 0: must be positive"):
        narrowcast(*command, "--set", "adapt.trunk_rate=0")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--categories", "hern"], ClassNameError, r"no category 'hern' in the table \(did you mean 'heron'\?\)"),
        (["--categories", "9"], UsageError, "9 categories are asked for, 3 have images"),
        (["--published", "inaturalist"], UsageError, "expected one of inaturalist-bg, places-bg"),
        (["--positives", "-1"], ConfigError, "positives, draw and seed not negative"),
        (["--data", "nowhere"], SourceError, "nowhere: no such folder or CSV file"),
    ],
    ids=["unknown category", "too many", "unknown data set", "negative", "no data"],
)
def test_bad_input_is_one_line(photos: Path, tmp_path: Path, words: list[str], error: type, message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        narrowcast("split", "--data", photos, "--out", tmp_path / "split.json", *words)
    assert "\n" not in str(raised.value)


def test_settings_without_effect_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"steps has no effect: it follows from \[epochs\]"):
        narrowcast("compare", "--data", photos, "--out", tmp_path, "--set", "training.steps=7")
    with pytest.raises(UsageError, match=r"no method 'bgsplt' \(did you mean 'bgsplit'\?\)"):
        narrowcast("compare", "--data", photos, "--out", tmp_path, "--methods", "bgsplt")


def test_published_splits_are_written_as_files(tmp_path: Path) -> None:
    folder = tmp_path / "places"
    folder.mkdir()
    names = [f"/a/place{ix}" for ix in range(60)]
    (folder / "categories_places365.txt").write_text("".join(f"{name} {ix}\n" for ix, name in enumerate(names)))
    train = [f"{name}/{number}.jpg {ix}\n" for ix, name in enumerate(names) for number in range(3)]
    (folder / "places365_train_standard.txt").write_text("".join(train))
    (folder / "places365_val.txt").write_text("".join(f"val_{ix}.jpg {ix}\n" for ix in range(60)))
    made = narrowcast("split", "--data", folder, "--published", "places-bg", "--out", tmp_path / "splits")
    assert {name: len(lists) for name, lists in made.items()} == {"50": 1, "10": 5, "1": 10}
    assert made["1"][0]["background"] == pytest.approx(177 / 180)
    assert len(list((tmp_path / "splits").glob("*.json"))) == 16


def started(*words: object, launcher: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    """`narrowcast bgsplit` in a process of its own."""
    command = [sys.executable, "-m", *launcher, "narrowcast", "bgsplit", *map(str, words), "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_numbers(photos: Path, tmp_path: Path) -> None:
    """kill -9 while features are kept, while the trunk is adapted, and while the method trains."""
    split = tmp_path / "split.json"
    narrowcast("split", "--data", photos, "--categories", "heron,egret", "--positives", 2, "--out", split)
    often = ["--set", "training.checkpoint_every=1", "--set", "training.report_every=1", "--set", "epochs.epochs=40"]
    often += ["--set", "training.learning_rate=0.001"]  # at that of real photos a trunk dies on these
    words = ["train", "--data", photos, "--split", split, *SMALL, *QUICK, *often, "--adapt", 40]
    whole = narrowcast(*words, "--out", tmp_path / "whole")
    run = tmp_path / "killed"
    for path in ("cache", "adapted/training.safetensors", "training.safetensors"):
        with started(*words, "--out", run) as process:
            deadline = time.monotonic() + 120
            while not (run / path).exists() and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (run / "summary.json").exists()
    assert narrowcast(*words, "--out", run) == whole


@pytest.mark.slow
def test_two_processes_of_torchrun_fill_one_cache_and_one_answers(photos: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    narrowcast("split", "--data", photos, "--categories", "heron,egret", "--positives", 2, "--out", split)
    words = ["train", "--data", photos, "--split", split, "--out", tmp_path / "run", *SMALL, *QUICK, "--adapt", 1]
    torchrun = ("torch.distributed.run", "--nproc-per-node", "2", "-m")
    with started(*words, launcher=torchrun) as process:
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert json.loads(out) == json.loads((tmp_path / "run" / "summary.json").read_text())
    with started("compare", "--data", photos, "--out", tmp_path / "no", launcher=torchrun) as process:
        assert "start it without torchrun" in process.communicate(timeout=200)[1]
