"""The benchmarks run, at a size at which their numbers mean nothing."""

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from narrowcast.video.labels import write_label_png

Bench = Callable[..., dict[str, Any]]
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def load(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """`load("davis")` is benchmarks/davis.py as a module, under a name of its own."""
    monkeypatch.syspath_prepend(repository / "benchmarks")

    def loaded(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", repository / "benchmarks" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return loaded


@pytest.fixture
def bench(load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """`bench("davis", "--networks", "student", result="davis2016")` is the JSON that the script writes."""

    def run(name: str, *options: str, result: str | None = None) -> dict[str, Any]:
        out = tmp_path / "results"
        command = [name, "--quick", "--threads", "1", "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", command)
        assert load(name).main() == 0
        text = (out / f"{result or name}.json").read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert str(Path.home()) not in text
        return json.loads(text)

    return run


@pytest.fixture
def clip(load: Callable[[str], ModuleType], tmp_path: Path) -> Path:
    return load("record").synthetic_clip(tmp_path / "shapes.mp4", num_frames=20, size_wh=(96, 64))


def test_evaluation_compares_at_equal_cost(bench: Bench, clip: Path, tmp_path: Path) -> None:
    options = ["--streams", str(clip), "--size", "96", "--teacher", "hue_teacher:label", "--classes", "red,green"]
    methods = "hold-2,hold-4,hold-8,flow-dis-4"
    found = bench("evaluation", *options, "--work", str(tmp_path / "work"), "--methods", methods, result="evaluation")
    assert found["streams"] == 1
    assert {row["method"] for row in found["rows"]} == set(methods.split(","))
    assert found["methods"]["hold-4"]["less_at_equal_cost"]["hold"] == pytest.approx(0)
    assert found["methods"]["flow-dis-4"]["less_at_equal_cost"]["hold"] is not None
    assert found["methods"]["flow-dis-4"]["streams_below_at_equal_cost"]["flow-dis"] == 0


def test_davis_scores_a_sequence(bench: Bench, tmp_path: Path) -> None:
    archive = tmp_path / "davis.tar"
    image = np.random.default_rng(0).integers(0, 256, (72, 128, 3), dtype=np.uint8)
    mask = np.zeros((72, 128), np.uint8)
    mask[20:40, 30:60] = 255
    with tarfile.open(archive, "w") as tar:
        for index in range(3):
            for folder, suffix, pixels in (("JPEGImages", "jpg", image), ("Annotations", "png", mask)):
                content = cv2.imencode(f".{suffix}", pixels)[1].tobytes()
                member = tarfile.TarInfo(f"davis2016/{folder}/libby/{index:05}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    options = ["--archive", str(archive), "--sequences", "libby", "--networks", "student,embedded"]
    found = bench("davis", *options, result="davis2016")
    assert set(found["networks"]) == {"student", "embedded"}
    assert all(0 <= network["mean_j"] <= 1 for network in found["networks"].values())
    assert found["networks"]["student"]["sequences"]["libby"]["frames"] == 1


@pytest.mark.slow
def test_jitnet_times_all_rows_and_names_its_bars(bench: Bench) -> None:
    found = bench("jitnet")
    assert {"inference", "update", "literal inference fp32", "LR-ASPP fp32"} <= {row["name"] for row in found["rows"]}
    assert sum(ratio["bar"] is not None for ratio in found["ratios"]) == 5


@pytest.mark.slow
def test_memory_is_sampled(bench: Bench) -> None:
    found = bench("memory")
    assert [sample["frame"] for sample in found["curve"]] == [10, 20, 30, 40, 50, 60]


@pytest.mark.slow
def test_runs_repeat_and_survive(bench: Bench) -> None:
    assert all(bench("determinism")["checks"].values())


def test_overlap_times_a_teacher_beside_the_student(bench: Bench) -> None:
    (row,) = bench("overlap", "--teachers", "hue_teacher:label")["rows"]
    assert row["together_ms"] > 0
    assert row["in_turn_ms"] == pytest.approx(row["teacher_ms"] + row["predictions_ms"], abs=0.11)


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Twenty classes, one for each branch of the usual HydraNet: two images to learn, one to score."""
    rng = np.random.default_rng(0)
    for split, num in (("train", 2), ("val", 1)):
        for label in range(20):
            folder = tmp_path / "photos" / split / f"c{label:02}"
            folder.mkdir(parents=True)
            for index in range(num):
                cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    return str(tmp_path / "photos")


def test_hydra_partition_ranks_the_methods(bench: Bench) -> None:
    error = {row["method"]: row["error"] for row in bench("hydra_partition", result="hydra-partition")["rows"]}
    assert error["balanced"] < error["greedy (thesis)"] < error["random"]


@pytest.mark.slow
def test_hydra_dispatch_times_each_form_in_both_precisions(bench: Bench) -> None:
    found = bench("hydra_dispatch", "--forms", result="hydra-dispatch")
    assert {row["what"] for row in found["rows"]} == {"branches", "training step", "network"}
    assert [(row["precision"], row["batch"]) for row in found["forms"]] == [
        ("float32", 1),
        ("float32", 4),
        ("bfloat16", 1),
        ("bfloat16", 4),
    ]
    assert all(row[f"{form} ms"] > 0 for row in found["forms"] for form in ("masked", "loop", "gathered", "sorted"))


@pytest.mark.slow
def test_hydra_learning_keeps_what_is_there(bench: Bench, photos: str, tmp_path: Path) -> None:
    options = ["--data", photos, "--work", str(tmp_path / "work"), "--seeds", "0", "--methods"]
    first = bench("hydra_learning", *options, "resnet-14", result="hydra-learning")
    again = bench("hydra_learning", *options, "resnet-14,cluster", result="hydra-learning")
    assert again["rows"]["resnet-14/0"] == first["rows"]["resnet-14/0"]
    assert 0 <= again["rows"]["cluster/0"]["gate_hit"] <= 1


def test_hydra_choices_trains_every_kind_of_method(bench: Bench, photos: str, tmp_path: Path) -> None:
    kinds = "static,cluster,learn-bias,none,late,tail,upcycled-n2-k1"
    options = ["--data", photos, "--work", str(tmp_path / "work"), "--seeds", "0", "--methods", kinds]
    rows = bench("hydra_choices", *options, result="hydra-choices")["rows"]
    assert [key.removesuffix("/0") for key in rows] == kinds.split(",")
    assert rows["cluster/0"]["by_chosen"]["4"]["top1"] == rows["cluster/0"]["top1"]
    assert rows["cluster/0"]["macs_executed"] == pytest.approx(rows["static/0"]["macs_executed"], rel=0.01)
    gate_macs = 96 * 20
    assert rows["upcycled-n2-k1/0"]["macs_executed"] == rows["tail/0"]["macs_executed"] + gate_macs


@pytest.mark.slow
def test_runs_survive_kills(repository: Path, tmp_path: Path) -> None:
    """In a process of its own: its forks must not inherit what other tests have left running."""
    script = repository / "benchmarks" / "kills.py"
    subprocess.run([sys.executable, script, "--quick", "--out", tmp_path], check=True, timeout=300)
    result = json.loads((tmp_path / "kills.json").read_text(encoding="utf-8"))
    assert result["live"]["is_whole"]
    assert result["one frame after another"]["is_whole"]


@pytest.mark.slow
def test_a_camera_that_goes_away_is_seen_again(bench: Bench, clip: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    for ix in range(20):
        write_label_png(labels / f"{ix:08}.png", np.full((64, 96), ix % 2, np.uint8))
    (labels / "classes.txt").write_text("background\nperson\ncar\nbus\n")
    result = bench("reconnect", "--source", str(clip), "--labels", str(labels), "--size", "96x64", "--delay", "0.05")
    assert result["cuts"] >= 1
    assert result["slowest_recovery_s"] < 4  # the machine may be busy


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_label_task_counts_what_hands_do(bench: Bench, tmp_path: Path) -> None:
    """Both ways to label end with what was sought: found by the file's name, as a person would see it."""
    rng = np.random.default_rng(0)
    for folder, names in (("photos", ["disc"] * 6 + ["noise"] * 30), ("examples", ["outside"] * 3)):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
            if name != "noise":
                cv2.circle(image, (60, 45), int(rng.integers(25, 40)), (35, 25, 225), -1)
            cv2.imwrite(str(tmp_path / folder / f"{name}-{number}.png"), image)
    options = ["--photos", str(tmp_path / "photos"), "--examples", str(tmp_path / "examples"), "--rare", "disc"]
    found = bench("label_task", *options, "--chromium", str(CHROMIUM), result="label-task")
    assert (found["photos"], found["rare"]) == (36, 6)
    for kind in ("keys", "exceptions"):
        assert found[kind]["found"] >= 3
        assert found[kind]["sheets"] <= 2
    assert found["keys"]["keys"] > found["exceptions"]["keys"]
    assert found["exceptions"]["clicks"] > found["keys"]["clicks"]


@pytest.mark.slow
def test_label_page_talks_to_a_server_of_its_own(bench: Bench) -> None:
    found = bench("label_page", result="label-page")
    assert set(found["bars"]) == {"ack_ms_p95", "next_ready_ms_p95", "next_unready_ms_p95", "first_page_s", "memory_gb"}
    assert found["labels"] == 48
    assert 0 < found["ack_ms_p50"] <= found["ack_ms_p95"]
    assert found["memory_bytes"]["rss"] > found["memory_bytes"]["feature_files"]


@pytest.mark.slow
def test_monitor_counts_what_viewers_cost(bench: Bench) -> None:
    found = bench("monitor")
    assert sorted(found["ratios"]) == ["1 viewer", "3 viewers", "page alone"]
    watched = [one for one in found["runs"] if one["viewers"]]
    assert all(one["asked"]["states"] for one in watched)
    assert all(one["pictures_drawn"] <= one["asked"]["pictures"] + 2 for one in watched)  # one picture for all viewers
