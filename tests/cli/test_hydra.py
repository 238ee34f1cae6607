"""`narrowcast hydra` from images to ONNX, and what it says of bad input: one line, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.training import Trainer

from .conftest import Answer, Cli

NUM_CLASSES = 6
SMALL = [
    *("--set", "net.num_branches=3", "--set", "net.num_chosen=1", "--set", "training.batch_size=8"),
    *("--set", "training.report_every=3", "--epochs", "2", "--size", "16", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six colours, twelve images of each to learn and four to score."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, num in (("train", 12), ("val", 4)):
        for label in range(NUM_CLASSES):
            (folder / split / f"c{label}").mkdir(parents=True)
            for ix in range(num):
                image = rng.integers(0, 60, (32, 32, 3))
                image[..., label % 3] += 80 if label < 3 else 190
                Image.fromarray(image.astype(np.uint8)).save(folder / split / f"c{label}" / f"{ix}.png")
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(cli: Cli, photos: Path, *words: str, out: str = "run") -> Answer:
    return cli("hydra", "train", "--data", photos, "--out", out, *SMALL, *words)


def test_from_images_to_onnx(cli: Cli, photos: Path, work: Path) -> None:
    made = cli("hydra", "partition", "--data", photos, "--branches", 3, "--method", "random", "--out", "p.json",
               "--picture", "p.png", "--json")  # fmt: skip
    assert made.code == 0
    assert sorted(name for group in json.loads(made.out)["branches"] for name in group) == [
        f"c{ix}" for ix in range(NUM_CLASSES)
    ]
    with Image.open("p.png") as sheet:
        assert sheet.size[0] > 100
    trained = train(cli, photos, "--partition", "p.json", "--json")
    assert trained.code == 0, trained.err
    summary = json.loads(trained.out)
    assert json.loads(Path("run/summary.json").read_text()) == summary
    assert {"top1", "top5", "params", "macs_executed", "seconds"} <= summary.keys()
    assert summary["top5"] > 0.8
    page = Path("run/report.html").read_text()
    assert "<svg" in page
    assert all(part in page for part in ("More or fewer branches", "ran for its own", "the hardest first"))
    assert list(summary["by_chosen"]) == ["1", "2"]
    assert summary["by_chosen"]["1"]["top1"] == summary["top1"]
    assert sum(one["num"] for one in summary["classes"].values()) == summary["num_scored"] == 24
    assert [json.loads(line)["step"] for line in Path("run/reports.jsonl").read_text().splitlines()] == [
        3,
        6,
        9,
        12,
        15,
        18,
    ]
    scored = json.loads(cli("hydra", "eval", "run", "--data", photos, "--json").out)
    assert scored["top1"] == summary["top1"]
    more = json.loads(
        cli("hydra", "eval", "run", "--data", photos, "--num-chosen", 2, "--report", "page.html", "--json").out
    )
    assert more["top1"] == summary["by_chosen"]["2"]["top1"]
    assert list(more["by_chosen"]) == ["1", "2"]
    assert "ran for its own" in Path("page.html").read_text()
    assert more["mean_chosen"] == 2
    assert more["macs_executed"] > scored["macs_executed"]
    spent = json.loads(
        cli("hydra", "eval", "run", "--data", photos, "--num-chosen", 3, "--mean-chosen", 1.5, "--json").out
    )
    assert 1 <= spent["mean_chosen"] <= 2.5
    # what was executed, not what three branches would cost
    each = more["macs_executed"] - scored["macs_executed"]
    assert spent["macs_executed"] == round(scored["macs_executed"] + (spent["mean_chosen"] - 1) * each)


def test_a_static_network_trains_the_same_way(cli: Cli, photos: Path, work: Path) -> None:
    answer = cli("hydra", "train", "--data", photos, "--out", "run", "--arch", "resnet-14", "--epochs", 1, "--set",
                 "training.batch_size=24", "--device", "cpu", "--json")  # fmt: skip
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["mean_chosen"] is None
    assert "no branches" in cli("hydra", "eval", "run", "--data", photos, "--num-chosen", 2).error


def test_training_goes_on_from_weights_with_other_gates_and_branches(cli: Cli, photos: Path, work: Path) -> None:
    """A static network's run becomes a HydraNet: only the gate is new, and its first loss says so."""
    quick = ["--arch", "mobilenet_v3_small", "--epochs", 1, "--device", "cpu"]
    quick += ["--set", "training.batch_size=72", "--set", "training.learning_rate=1e-12"]
    assert cli("hydra", "train", "--data", photos, "--out", "static", *quick).code == 0
    branched = ("--set", "net.branch_at=features.11", "--set", "net.num_branches=2")
    answer = cli("hydra", "train", "--data", photos, "--out", "run", *quick, *branched, "--weights", "static", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["top1"] == json.loads(Path("static/summary.json").read_text())["top1"]
    assert json.loads(Path("run/run.json").read_text())["config"]["net"]["weights"] == "static"
    assert "no such file" in train(cli, photos, "--weights", "nowhere.pt", out="other").error
    assert "are these its weights?" in train(cli, photos, "--weights", "static", out="other").error
    assert not Path("other").exists()


def test_a_killed_training_goes_on_to_the_same_end(cli: Cli, photos: Path, work: Path) -> None:
    """Losses, weights and scores are those of the undisturbed run; a report that the checkpoint lacks is dropped."""
    assert train(cli, photos, out="whole").code == 0

    def losses(run: str) -> list[tuple[int, float]]:
        lines = Path(run, "reports.jsonl").read_text().splitlines()
        return [(json.loads(line)["step"], json.loads(line)["loss"]) for line in lines]

    save = Trainer.save

    def die_before_the_second_checkpoint(trainer: Trainer) -> None:  # type: ignore[type-arg]
        if trainer.step > 9:
            raise MemoryError
        save(trainer)

    Trainer.save = die_before_the_second_checkpoint  # type: ignore[method-assign]
    try:
        assert train(cli, photos, out="killed").code == 1
    finally:
        Trainer.save = save  # type: ignore[method-assign]
    assert not Path("killed/summary.json").exists()
    assert "--resume" in train(cli, photos, out="killed").error
    assert "started with" in train(cli, photos, "--resume", "--seed", "1", out="killed").error
    assert train(cli, photos, "--resume", out="killed").code == 0
    assert losses("whole") == losses("killed")
    before, after = (json.loads(Path(run, "summary.json").read_text()) for run in ("whole", "killed"))
    assert {**before, "seconds": 0} == {**after, "seconds": 0}


def test_benchmarks_are_rows_for_programs(cli: Cli) -> None:
    answer = cli(
        "hydra", "bench", "--arch", "hydra-res-d1", "--batch", 2, "--what", "branches", "--repeats", 1, "--json"
    )
    (row,) = json.loads(answer.out)
    assert row.keys() == {"what", "batch", "masked_ms", "dispatched_ms", "ratio"}
    assert row["ratio"] == pytest.approx(row["dispatched_ms"] / row["masked_ms"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--partition", "short.json"], "no branch for class 'c5'"),
        (["--partition", "two.json"], "has 2 branches, the network 3"),
        (["--partition", "none.json"], "none.json: cannot be read"),
        (["--set", "net.num_chosen=4"], "num_chosen = 4: there are only 3"),
        (["--arch", "hydra-res-d11"], "did you mean 'hydra-res-d1'"),
        (["--arch", "nothing"], "no such network"),
        (["--arch", "resnet18", "--set", "net.branch_at=layer9"], "no such stage (did you mean 'layer"),
        (["--set", "net.branch_at=layer4"], "branch_at has no effect"),
        (["--set", "net.balance=0.1"], "balance and bias_rate have no effect"),
        (["--set", "training.steps=5"], "steps has no effect"),
        (["--set", "run.norm_rows=all"], 'needs execution = "masked"'),
    ],
)
def test_bad_settings_are_one_line(cli: Cli, photos: Path, work: Path, words: list[str], said: str) -> None:
    names = [f"c{ix}" for ix in range(NUM_CLASSES)]
    Path("short.json").write_text(json.dumps({"branches": [names[:2], names[2:4], names[4:5]]}))
    Path("two.json").write_text(json.dumps({"branches": [names[:2], names[2:]]}))
    assert said in train(cli, photos, *words).error


def test_the_architecture_is_checked_before_the_data_is_read(cli: Cli, work: Path) -> None:
    for words in (["--arch", "hydra-res-d11"], ["--arch", "resnet18", "--set", "net.branch_at=layer9"]):
        assert "did you mean" in train(cli, Path("nowhere"), *words).error


def test_a_corrupt_image_is_named(cli: Cli, photos: Path, work: Path) -> None:
    shutil.copytree(photos, "photos")
    Path("photos/train/c3/5.png").write_bytes(b"no image")
    assert "c3/5.png" in train(cli, Path("photos")).error
    assert not Path("run").exists()


def test_weights_of_another_kind_are_refused(cli: Cli, photos: Path, work: Path) -> None:
    from narrowcast.models.jitnet import JITNet
    from narrowcast.models.student import save_student

    save_student(Path("student.safetensors"), JITNet(2), ["a", "b"])
    assert "is not a classifier" in cli("hydra", "eval", "student.safetensors", "--data", photos).error
    assert "no such file" in cli("hydra", "eval", "nowhere", "--data", photos).error
    assert "no HydraNet" in cli("hydra", "bench", "--arch", "resnet-14").error


@pytest.mark.slow
def test_two_processes_train_one_network(photos: Path, work: Path) -> None:
    """Branches that no image of a process wants must not hang it; one process writes and prints."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "narrowcast",
        "hydra",
        "train",
    ]
    words = ["--data", str(photos), "--out", "run", *SMALL, "--set", "net.num_branches=6", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(Path("run/summary.json").read_text())
