"""An evaluation that is cut off anywhere goes on where it was, and ends as one that was not."""

import json
from pathlib import Path

import pytest
import torch

from narrowcast.stream.clips import Clip
from narrowcast.stream.evaluate import EvalConfig, EvalProgress, evaluate

from .test_clips import folder_of_frames
from .test_label_cache import Threshold

CONFIG = EvalConfig(teacher="threshold", methods=("hold-2", "hold-3"))


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return Clip("frames", str(folder_of_frames(tmp_path / "frames", 6)))


def run(clip: Clip, out: Path, *, steps: int | None = None) -> list[EvalProgress]:
    """An evaluation that is asked to end after so many frames."""
    done: list[EvalProgress] = []
    where = {"out": out, "cache": out / "labels", "device": torch.device("cpu")}
    for progress in evaluate(
        [clip], Threshold(), CONFIG, **where, should_stop=lambda: steps is not None and len(done) >= steps
    ):
        done.append(progress)
    return done


def scores(out: Path) -> list[tuple[str, int, float]]:
    rows = json.loads((out / "summary.json").read_text())
    return [(row["method"], row["frames"], row["miou_pooled"]) for row in rows]


def test_what_was_cut_off_goes_on(clip: Clip, tmp_path: Path) -> None:
    run(clip, tmp_path / "whole")
    for steps in (2, 9, 11):  # while labels are made, in the first job, in the second one
        before = run(clip, tmp_path / "cut", steps=steps)
        assert len(before) <= steps
    assert not (tmp_path / "cut" / "report.html").exists()
    run(clip, tmp_path / "cut")
    assert scores(tmp_path / "cut") == scores(tmp_path / "whole")
    assert [(name, frames) for name, frames, _ in scores(tmp_path / "cut")] == [("hold-2", 6), ("hold-3", 6)]
    assert (tmp_path / "cut" / "report.html").exists()
    assert run(clip, tmp_path / "cut") == []


def test_progress_tells_what_is_done(clip: Clip, tmp_path: Path) -> None:
    found = run(clip, tmp_path / "out")
    assert [(one.what, one.done, one.total) for one in found[:6]] == [("labels", done, 6) for done in range(1, 7)]
    assert [(one.what, one.job, one.num_jobs) for one in found if one.row] == [("hold-2", 1, 2), ("hold-3", 2, 2)]
