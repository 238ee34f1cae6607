"""`narrowcast stream apply` and `narrowcast stream export`, on the student of a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from narrowcast.stream.apply import load_adapted
from narrowcast.stream.baselines import frozen
from narrowcast.video.labels import read_label_png
from narrowcast.video.source import open_source

from .conftest import NUM, Cli


@pytest.fixture
def run(stream: Cli) -> Path:
    assert stream("--output", "none", "--max-frames", "9").code == 0
    return Path("run")


def test_a_video_is_labelled_by_the_student_alone(cli: Cli, run: Path, clip: Path) -> None:
    words = ("--out", "applied", "--output", "png", "--output", "overlay", "--device", "cpu")
    answer = cli("stream", "apply", run, clip, *words, "--json")
    assert answer.code == 0, answer.err
    summary = json.loads(answer.out)
    assert (summary["status"], summary["frames"]) == ("finished", NUM)
    assert len((Path("applied") / "reports.jsonl").read_text().splitlines()) == NUM
    with open_source("applied/labelled.mp4") as video:
        assert sum(1 for _ in video) == NUM
    adapted = load_adapted(run / "student.safetensors")
    assert adapted.size_wh == (64, 48)
    with open_source(clip) as source:
        for report in frozen(source, adapted.net, size_wh=(64, 48)):
            assert np.array_equal(read_label_png(Path(f"applied/labels/{report.frame:08}.png")), report.labels)


def test_a_student_that_was_hardly_taught_is_told_of(cli: Cli, stream: Cli, run: Path, clip: Path) -> None:
    """The default hears its student, and teaches it, only where that pays."""
    answer = cli("stream", "apply", run, clip, "--out", "applied", "--max-frames", 2)
    assert "taught its student only where that paid" in answer.err
    assert stream("--output", "none", "--max-frames", "9", "--method", "learning", "--out", "taught").code == 0
    answer = cli("stream", "apply", "taught", clip, "--out", "applied-too", "--max-frames", 2)
    assert "taught its student" not in answer.err
    assert load_adapted(Path("taught")).always_learned


def test_misuse_is_one_line(cli: Cli, run: Path, clip: Path) -> None:
    for words, says in (
        ((run, clip, "--output", "side-by-side"), "no teacher to show"),
        ((run, clip, "--max-frames", "0"), "must be at least 1"),
        (("nowhere.safetensors", clip), "nowhere.safetensors"),
        ((run, "nowhere.mp4"), "nowhere.mp4: no such file"),
    ):
        assert says in cli("stream", "apply", *words, "--out", "applied").error
    assert not Path("applied").exists()


@pytest.mark.slow
def test_a_student_is_exported(cli: Cli, run: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    answer = cli("stream", "export", run, "--out", "city.onnx", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["same_labels"] > 0.999
    (run / "student.safetensors").rename("alone.safetensors")
    assert "give --size" in cli("stream", "export", "alone.safetensors", "--out", "alone.onnx").error
