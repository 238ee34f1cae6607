"""Runs of sources of all kinds, and of sources, teachers and disks that fail."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import FPS, MemoryReader, flat_labels, shapes
from narrowcast.core import checkpoint
from narrowcast.core.config import to_dict
from narrowcast.core.errors import DivergedError, SourceError, StorageError
from narrowcast.core.frames import IGNORE
from narrowcast.core.runs import RunFolder
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.learner import LearnerConfig
from narrowcast.stream.run import STUDENT, RunConfig, next_frame, run_stream
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.reader import Picture
from narrowcast.video.source import FrameSource, open_source
from stream_runs import (
    BRISK,
    CONFIG,
    CPU,
    IMAGES,
    LABELS,
    NUM,
    CountedTeacher,
    lines,
    run,
    running,
    student,
    summary,
)


def test_a_source_whose_frame_size_changes_on_the_way_and_that_is_cut_off_there(tmp_path: Path, no_page: None) -> None:
    """Parts of several sizes could not be joined; the video keeps the size of the first frame."""
    config = replace(CONFIG, outputs=("overlay", "png"))
    more, more_labels = shapes(NUM, size_wh=(83, 35))
    images = [*IMAGES[:8], *(frame.image_rgb for frame in more[8:])]
    teacher = CountedTeacher([*LABELS[:8], *more_labels[8:]])
    path = tmp_path / "run"
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        reports = running(folder, config=config, images=images, teacher=teacher)
        assert len(list(itertools.islice(reports, 12))) == 12
        reports.close()  # type: ignore[attr-defined]
    after = run(path, config=config, images=images, teacher=teacher, resume=True)
    assert {report.labels.shape for report in after} == {(35, 83)}
    with open_source(path / "labelled.mp4") as video:
        frames = list(video)
    assert [frame.time_s for frame in frames] == [k / FPS for k in range(NUM)]
    assert {frame.image_rgb.shape for frame in frames} == {(48, 64, 3)}
    assert len(list((path / "labels").glob("*.png"))) == NUM


@pytest.mark.parametrize("size_wh", [(67, 51), (33, 40)], ids=str)
def test_odd_sizes(size_wh: tuple[int, int], tmp_path: Path, no_page: None) -> None:
    frames, labels = shapes(7, size_wh=size_wh)
    config = replace(CONFIG, outputs=("side-by-side", "png", "rle"))
    images = [frame.image_rgb for frame in frames]
    reports = run(tmp_path / "run", config=config, images=images, teacher=CountedTeacher(labels))
    assert {report.labels.shape for report in reports} == {(size_wh[1], size_wh[0])}
    with open_source(tmp_path / "run" / "labelled.mp4") as video:
        assert video.size_wh == (2 * size_wh[0], size_wh[1] + size_wh[1] % 2)
        assert len(list(video)) == 7


def test_the_students_own_size(tmp_path: Path, no_page: None) -> None:
    config = replace(CONFIG, size_wh=(48, 32), outputs=("png",), score_every=1)
    reports = run(tmp_path / "run", config=config, images=IMAGES[:8])
    assert {report.prediction.shape for report in reports} == {(32, 48)}
    assert summary(tmp_path / "run")["scored_frames"] == 8
    assert summary(tmp_path / "run")["speedup_macs"] is not None


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    config = replace(CONFIG, outputs=("overlay", "png", "rle"))
    reports = run(tmp_path / "run", config=config, images=IMAGES[:1])
    assert [report.frame for report in reports] == [0]
    found = summary(tmp_path / "run")
    assert (found["frames"], found["teacher_frames"], found["scored_frames"]) == (1, 1, 1)
    assert found["miou_pooled_without_teacher_frames"] is None
    assert len(list(open_source(tmp_path / "run" / "labelled.mp4"))) == 1
    assert (tmp_path / "run" / "report.html").exists()


def test_a_teacher_that_knows_nothing(tmp_path: Path) -> None:
    config = replace(CONFIG, outputs=("overlay", "rle"))
    run(tmp_path / "run", config=config, images=IMAGES[:8], teacher=CountedTeacher([flat_labels(IGNORE)] * 8))
    found = summary(tmp_path / "run")
    assert (found["updates"], found["update_ms_p50"], found["miou_pooled"]) == (0, None, None)
    assert found["iou_per_class"] == {"round": None, "square": None}
    assert (tmp_path / "run" / "report.html").exists()


def test_a_disk_that_is_full_ends_the_run_and_it_goes_on(
    tmp_path: Path, whole: Path, no_page: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    saved = checkpoint.save

    def full(target: Path, tensors: Any, *, meta: Any) -> None:
        if meta["next_frame"] == 15:
            raise StorageError(f"{target}: cannot be written: No space left on device")
        saved(target, tensors, meta=meta)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        run(path)
    assert next_frame(path) == 10
    monkeypatch.setattr(checkpoint, "save", saved)
    run(path, resume=True)
    assert lines(path) == lines(whole)


class ShortTeacher(CountedTeacher):
    """Has no answer from frame 9 on."""

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        if frame_index is not None and frame_index >= 9:
            raise SourceError("masks: no mask for this frame")
        return super().__call__(image_rgb, frame_index=frame_index)


class FailingReader(MemoryReader):
    """The eighth image is damaged."""

    def pictures(self) -> Iterator[Picture]:
        yield from itertools.islice(super().pictures(), 7)
        raise SourceError("008.png: not an image")


def broken_source(folder: RunFolder, config: RunConfig) -> Iterator[StreamReport]:
    source = FrameSource(FailingReader(IMAGES))
    return run_stream(source, student(), CountedTeacher(LABELS), config=config, folder=folder, device=CPU)


def broken_teacher(folder: RunFolder, config: RunConfig) -> Iterator[StreamReport]:
    return running(folder, config=config, teacher=ShortTeacher(LABELS))


@pytest.mark.parametrize(("begin", "num_kept"), [(broken_source, 7), (broken_teacher, 9)])
def test_what_came_before_a_failure_of_source_or_teacher_is_kept(
    begin: Callable[[RunFolder, RunConfig], Iterator[StreamReport]],
    num_kept: int,
    tmp_path: Path,
    whole: Path,
    no_page: None,
) -> None:
    """A missing mask left no video, no summary and no student, however many frames came before it."""
    path, config = tmp_path / "run", replace(CONFIG, outputs=("overlay", "rle"), score_every=0)
    with (
        RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder,
        pytest.raises(SourceError, match=r"no mask|not an image"),
    ):
        list(begin(folder, config))
    assert (summary(path)["status"], summary(path)["frames"]) == ("failed", num_kept)
    assert next_frame(path) == num_kept == len(list(open_source(path / "labelled.mp4")))
    run(path, config=config, resume=True)
    assert summary(path)["status"] == "finished"
    assert [line["stride"] for line in lines(path)] == [line["stride"] for line in lines(whole)]
    assert len(list(open_source(path / "labelled.mp4"))) == NUM


def test_a_student_that_diverged_is_not_kept(tmp_path: Path, no_page: None) -> None:
    config = replace(CONFIG, distill=replace(BRISK, learner=LearnerConfig(learning_rate=1e30)))
    with pytest.raises(DivergedError, match=r"try a lower learner\.learning_rate"):
        run(tmp_path / "run", config=config)
    assert not (tmp_path / "run" / STUDENT).exists()


def test_a_camera_that_sends_nothing_can_be_stopped(tmp_path: Path, no_page: None) -> None:
    """Ctrl-C was heard after the next frame only, which a camera may never send."""
    stopped, asked = threading.Event(), itertools.count()

    class SilentReader(MemoryReader):
        def pictures(self) -> Iterator[Picture]:
            yield from itertools.islice(super().pictures(), 3)
            stopped.wait(30)

        def stop(self) -> None:
            stopped.set()

    seen: list[int] = []
    with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=False) as folder:
        for report in run_stream(
            FrameSource(SilentReader(IMAGES)),
            student(),
            CountedTeacher(LABELS),
            config=CONFIG,
            folder=folder,
            device=CPU,
            should_stop=lambda: len(seen) == 3 and next(asked) > 0,  # not right after the frame
        ):
            seen.append(report.frame)
    assert stopped.is_set()
    assert (summary(tmp_path / "run")["status"], summary(tmp_path / "run")["frames"]) == ("interrupted", 3)


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path, no_page: None) -> None:
    """`total_s` grew with every look at a finished run."""
    config = replace(CONFIG, outputs=("overlay", "rle"))
    run(tmp_path / "run", config=config)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    assert run(tmp_path / "run", config=config, resume=True) == []
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()} == before
    assert tmp_path / "run" / "labelled.mp4" in before


def test_reports_that_do_not_reach_the_checkpoint_are_an_error(tmp_path: Path, no_page: None) -> None:
    """A summary of no frames was written over that of all."""
    run(tmp_path / "run")
    (tmp_path / "run" / "reports.jsonl").write_text(json.dumps({"frame": 0}) + "\n")
    with pytest.raises(StorageError, match=f"has reports of 1 frames and a checkpoint after {NUM}"):
        run(tmp_path / "run", resume=True)
    assert summary(tmp_path / "run")["frames"] == NUM
