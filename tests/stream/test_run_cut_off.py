"""Runs that were cut off, in every way, go on without a gap or a double."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import same_tensors
from narrowcast.core import checkpoint
from narrowcast.core.config import to_dict
from narrowcast.core.errors import NarrowcastError, StorageError, UsageError, WeightsError
from narrowcast.core.runs import RunFolder
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.run import CHECKPOINT, STUDENT, RunConfig, next_frame
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.source import open_source
from stream_runs import (
    BRISK,
    CONFIG,
    FRAMES,
    LABELS,
    NUM,
    CountedTeacher,
    lines,
    run,
    running,
    scores,
    summary,
)

AHEAD = replace(BRISK, look_ahead=6, trial=3, patience=2)


class FailingTeacher(CountedTeacher):
    """Breaks down on one frame."""

    def __init__(
        self, labels: Sequence[np.ndarray], *, fails_at: int, error: type[NarrowcastError] = StorageError
    ) -> None:
        super().__init__(labels)
        self.fails_at, self.error = fails_at, error

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        if frame_index is not None and frame_index >= self.fails_at:
            raise self.error("the teacher broke down")
        return super().__call__(image_rgb, frame_index=frame_index)


def abandon(path: Path, config: RunConfig) -> list[StreamReport]:
    """The caller loses interest after 13 frames."""
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        reports = running(folder, config=config)
        seen = list(itertools.islice(reports, 13))
        reports.close()  # type: ignore[attr-defined]
    return seen


def fail(path: Path, config: RunConfig) -> list[StreamReport]:
    """An error in the middle of a frame."""
    seen = []
    with (
        RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder,
        pytest.raises(StorageError, match="broke down"),
    ):
        for report in running(folder, config=config, teacher=FailingTeacher(LABELS, fails_at=12)):
            seen.append(report)
    return seen


def kill(path: Path, config: RunConfig) -> list[StreamReport]:
    """What `kill -9` leaves: lines and files that are cut off, nothing closed."""
    seen = abandon(path, config)
    for name in ("reports.jsonl", "labels.jsonl"):
        with (path / name).open("ab") as file:
            file.write(b'{"frame":13,"time_s":0.5')
    for part in (path / "parts").glob("part-00000010.mp4"):
        part.rename(part.with_name(".part-00000010.mp4.4711.tmp"))
    return seen


def stop_early(path: Path, config: RunConfig) -> list[StreamReport]:
    """Killed before the first checkpoint."""
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        reports = running(folder, config=config)
        seen = list(itertools.islice(reports, 3))
        reports.close()  # type: ignore[attr-defined]
    return seen


CUTS = [
    pytest.param(abandon, id="abandoned"),
    pytest.param(fail, id="an error"),
    pytest.param(kill, id="as kill -9 leaves it"),
    pytest.param(stop_early, id="before the first checkpoint"),
]


@pytest.mark.parametrize("cut_off", CUTS)
def test_a_run_that_was_cut_off_goes_on_without_gap_or_double(
    cut_off: Callable[[Path, RunConfig], list[StreamReport]], whole: Path, tmp_path: Path, no_page: None
) -> None:
    path, config = tmp_path / "run", replace(CONFIG, outputs=("overlay", "rle"))
    before = cut_off(path, config)
    assert not (path / "summary.json").exists()
    assert next_frame(path) == len(before) // 5 * 5
    after = run(path, config=config, resume=True)
    assert [report.frame for report in after] == list(range(len(before) // 5 * 5, NUM))
    assert lines(path) == lines(whole)
    assert scores(path) == scores(whole)
    assert (path / "labels.jsonl").read_bytes() == (whole / "labels.jsonl").read_bytes()
    assert same_tensors(checkpoint.load(path / CHECKPOINT)[0], checkpoint.load(whole / CHECKPOINT)[0])
    with open_source(path / "labelled.mp4") as video:
        assert [frame.time_s for frame in video] == [frame.time_s for frame in FRAMES]
    assert not (path / "parts").exists()


@pytest.mark.parametrize("cut_off", CUTS)
def test_a_run_that_looks_ahead_goes_on_from_a_frame_for_which_none_waits(
    cut_off: Callable[[Path, RunConfig], list[StreamReport]], tmp_path: Path, no_page: None
) -> None:
    config = replace(CONFIG, distill=AHEAD, outputs=("rle",))
    straight = [report.teacher_ran for report in run(tmp_path / "whole", config=config)]
    cut_off(tmp_path / "run", config)
    first = next_frame(tmp_path / "run")
    assert first == 0 or straight[first - 1]  # whose labels are the last that were needed
    run(tmp_path / "run", config=config, resume=True)
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    assert scores(tmp_path / "run") == scores(tmp_path / "whole")
    found, expected = (tmp_path / name / "labels.jsonl" for name in ("run", "whole"))
    assert found.read_bytes() == expected.read_bytes()


def test_a_run_that_looks_ahead_keeps_all_frames_when_it_is_stopped_or_its_teacher_fails(
    tmp_path: Path, no_page: None
) -> None:
    config = replace(CONFIG, distill=AHEAD)
    seen = iter(range(99))
    stopped = run(tmp_path / "stopped", config=config, should_stop=lambda: next(seen) >= 10)
    assert [report.frame for report in stopped] == list(range(len(stopped)))
    assert summary(tmp_path / "stopped")["frames"] == len(stopped) == next_frame(tmp_path / "stopped")
    run(tmp_path / "stopped", config=config, resume=True)
    assert [line["frame"] for line in lines(tmp_path / "stopped")] == list(range(NUM))
    with pytest.raises(WeightsError, match="broke down"):
        failing = FailingTeacher(LABELS, fails_at=12, error=WeightsError)
        run(tmp_path / "failed", config=replace(config, score_every=0), teacher=failing)
    assert [line["frame"] for line in lines(tmp_path / "failed")] == list(range(summary(tmp_path / "failed")["frames"]))
    assert summary(tmp_path / "failed")["status"] == "failed"


def test_a_run_can_be_cut_off_again_and_again(tmp_path: Path, whole: Path, no_page: None) -> None:
    for attempt in range(5):
        with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=attempt > 0) as folder:
            reports = running(folder)
            list(itertools.islice(reports, 6))
            reports.close()  # type: ignore[attr-defined]
    run(tmp_path / "run", resume=True)
    assert lines(tmp_path / "run") == lines(whole)
    assert scores(tmp_path / "run") == scores(whole)


def test_total_time_goes_on_after_a_cut(tmp_path: Path, no_page: None) -> None:
    path = tmp_path / "run"
    abandon(path, CONFIG)
    before_s = checkpoint.load(path / CHECKPOINT)[1]["total_s"]
    started = time.perf_counter()
    run(path, resume=True)
    total_s = summary(path)["total_s"]
    assert before_s < total_s <= before_s + time.perf_counter() - started


def test_should_stop_ends_a_run_cleanly_and_it_goes_on(tmp_path: Path, whole: Path, no_page: None) -> None:
    path, config = tmp_path / "run", replace(CONFIG, outputs=("overlay",))
    seen: list[int] = []
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        for report in running(folder, config=config, should_stop=lambda: len(seen) == 7):
            seen.append(report.frame)
    assert seen == list(range(7))
    assert (summary(path)["status"], summary(path)["frames"], next_frame(path)) == ("interrupted", 7, 7)
    assert len(list(open_source(path / "labelled.mp4"))) == 7
    assert (path / STUDENT).exists()
    run(path, config=config, resume=True)
    assert summary(path)["status"] == "finished"
    assert lines(path) == lines(whole)
    assert len(list(open_source(path / "labelled.mp4"))) == NUM


@pytest.mark.parametrize("cut_off", [abandon, fail])
def test_a_cut_leaves_no_threads(
    cut_off: Callable[[Path, RunConfig], list[StreamReport]], tmp_path: Path, no_page: None
) -> None:
    before = threading.active_count()
    cut_off(tmp_path / "run", replace(CONFIG, outputs=("overlay",)))
    assert threading.active_count() == before


def test_a_run_does_not_go_on_with_other_settings(tmp_path: Path, no_page: None) -> None:
    abandon(tmp_path / "run", CONFIG)
    for other, message in [
        (replace(CONFIG, seed=4), "seed = 3, not 4"),
        (replace(CONFIG, size_wh=(64, 48)), "size_wh = None, not"),
        (replace(CONFIG, distill=replace(BRISK, min_area=0.0)), r"distill.min_area = 0.0005, not 0.0;"),
    ]:
        with pytest.raises(UsageError, match=message):
            run(tmp_path / "run", config=other, resume=True)
    assert next_frame(tmp_path / "run") == 10


def test_a_second_process_is_refused_while_a_run_goes_on(tmp_path: Path, no_page: None) -> None:
    with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=False) as folder:
        reports = running(folder)
        next(reports)
        with pytest.raises(UsageError, match="another process is writing this run"):
            RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=True)
        assert len(list(reports)) == NUM - 1
