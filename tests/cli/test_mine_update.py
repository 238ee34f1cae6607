"""`narrowcast mine update`: features from labels, kept beside the old, promoted or not, and followed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.mine.pool import Pool
from narrowcast.mine.session import MiningSession
from narrowcast.models.backbones import load_backbone

from .conftest import Cli

POOL = ("--pool", "pool")


@pytest.fixture
def pool(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """Sixty photos, a third of them reddish, all labelled; one positive is from outside."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = [f"photos/{'red' if ix < 20 else 'grey'}-{ix:02}.png" for ix in range(60)]
    for name in [*names, "outside.png"]:
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        if "grey" not in name:
            pixels[..., 1:] //= 2
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(name)
    cli("mine", "index", "photos", *POOL, "--backbone", "efficientnet-lite0@32", "--device", "cpu")
    cli("mine", "new", "red", *POOL, "--positives", "outside.png")
    cli("mine", "label", "red", "positive", *names[:18], *POOL)
    cli("mine", "label", "red", "negative", *names[20:40], *POOL)
    return Pool.open(Path("pool"))


def test_features_are_learned_kept_and_judged(cli: Cli, pool: Pool) -> None:
    with MiningSession.open(pool.path, "red", method="tropel-rn100") as session:
        before = session.version
        told = json.loads(
            cli("mine", "update", *POOL, "--epochs", "2", "--strategy", "tropel-rn100", "--device", "cpu", "--json").out
        )
        assert told["version"] == f"{before}+1"
        assert told["labels"] == 39
        assert told["categories"][0]["positives"] >= 1
        assert "set aside" in told["reason"]
        note = pool.store(told["version"]).note
        assert note.parent == before
        features = pool.features(told["version"])
        old = pool.features(before)
        assert features.shape == (60, 2 * old.shape[1])
        np.testing.assert_allclose(features[:, : old.shape[1]] * 2**0.5, old, atol=0.003)
        assert np.abs(features[:, old.shape[1] :] * 2**0.5 - old).max() > 0.01
        network = load_backbone(note.backbone)
        assert network.key == note.key
        image = np.asarray(Image.open(pool.paths()[0]).convert("RGB"))
        made = network([image])[0]
        np.testing.assert_allclose(made / np.linalg.norm(made), features[0].astype(np.float32), atol=0.02)
        assert session.follow() == told["is_promoted"]
        pool.choose(told["version"])
        session.follow()
        assert session.version == told["version"]
        assert len(session.next_batch(5)) == 5  # with the positive from outside in the new features
    again = cli("mine", "update", *POOL, "--epochs", "1", "--strategy", "tropel-rn100", "--device", "cpu")
    assert again.out.startswith(f"{before}+2: ")


def test_what_cannot_be_learned_from_is_one_line(cli: Cli, pool: Pool) -> None:
    assert "no category 'owl'" in cli("mine", "update", *POOL, "--category", "owl").error
    assert cli("mine", "update", *POOL, "--teacher", "resnet1").code == 2
    with pool.locked():
        assert "learning its features" in cli("mine", "update", *POOL).error


@pytest.mark.slow
def test_it_stays_and_learns_again_when_there_are_new_labels(cli: Cli, pool: Pool) -> None:
    command = ["mine", "update", *POOL, "--epochs", "1", "--strategy", "tropel-rn100", "--every", "2", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "narrowcast", *command, "--device", "cpu"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        cli("mine", "label", "red", "negative", "photos/grey-50.png", "photos/grey-51.png", *POOL)
        second = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert (first["labels"], second["labels"]) == (39, 41)
    assert [name.rpartition("+")[2] for name in (first["version"], second["version"])] == ["1", "2"]


def test_a_simulation_with_updates_is_beside_the_frozen_one(cli: Cli, pool: Pool) -> None:
    rows = [
        f"{path},{'red' if 'red' in path else 'grey'},{'test' if ix % 3 else 'train'}"
        for ix, path in enumerate(pool.paths())
    ]
    Path("truth.csv").write_text("\n".join(["path,category,split", *rows]))
    words = ("mine", "simulate", *POOL, "--truth", "truth.csv", "--out", "run", "--categories", "red", "--seeds", "1")
    words = (*words, "--strategies", "tropel-rn100", "--labels", "4", "--batch", "2", "--device", "cpu")
    cli(*words, "--update-every", "2")
    runs = json.loads(Path("run/summary.json").read_text())
    assert [run["strategy"] for run in runs] == ["tropel-rn100", "tropel-rn100+updates"]
    assert [update["labels"] for update in runs[1]["updates"]] == [2, 4]
    assert not any(update["is_promoted"] for update in runs[1]["updates"])  # too few are set aside
    assert runs[1]["ap"] == runs[0]["ap"]
    assert cli(*words).code == 0  # goes on with frozen features alone
    assert "update_every = 2, not 4" in cli(*words, "--update-every", "4").error
    assert "must be a multiple of --batch" in cli(*words, "--update-every", "3").error
    assert "have no effect without --update-every" in cli(*words, "--adapt", "1").error
