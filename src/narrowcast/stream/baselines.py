"""What a learning student must beat: the teacher's last labels held or moved by optical flow, and a student that does
not learn. Generators of the same reports as `stream.distill`, so that one table scores all of them.

As there, a frame is predicted before its teacher labels are known: `prediction` on a teacher frame is what the method
still made of the teacher frame before it, `labels` are the teacher's. None of this is in the thesis; it is ours.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Protocol, final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import Frame
from narrowcast.metrics.segmentation import frame_iou
from narrowcast.models.teacher import Teacher
from narrowcast.stream.learner import Learner, LearnerConfig, shrink
from narrowcast.stream.look_ahead import LookAhead
from narrowcast.stream.moved_labels import MovedLabels
from narrowcast.stream.optical_flow import OpticalFlow
from narrowcast.stream.schedule import has_elapsed
from narrowcast.stream.stream_report import StreamReport, relabelled
from narrowcast.stream.targets import resize_labels

NEVER = 0  # the stride of a method that does not ask the teacher


def hold(frames: Iterable[Frame], teacher: Teacher, *, every: int, size_wh: tuple[int, int]) -> Iterator[StreamReport]:
    """The teacher's last labels, until it runs again; the cheapest method there is.

    Args:
        frames: in order.
        teacher: runs on the first frame and then on every `every`-th.
        every: frames from one teacher call to the next.
        size_wh: of the labels, as of a student that this is compared with.

    Raises:
        ConfigError: `every` is less than 1.
    """
    return _propagate(frames, teacher, _Held(size_wh), every=every, size_wh=size_wh)


def flow(
    frames: Iterable[Frame],
    teacher: Teacher,
    *,
    every: int,
    size_wh: tuple[int, int],
    optical_flow: OpticalFlow | None = None,
    looks_ahead: bool = False,
) -> Iterator[StreamReport]:
    """The teacher's last labels, moved with the picture by optical flow at `size_wh`; DIS where none is given.

    Args:
        looks_ahead: frames wait for the teacher's next labels and hear both (`stream.look_ahead`).

    Other arguments and errors are those of `hold`.
    """
    warped = _Warped(size_wh, optical_flow)
    reports = _propagate(frames, teacher, warped, every=every, size_wh=size_wh)
    return _looking_ahead(reports, warped, every) if looks_ahead else reports


def _looking_ahead(reports: Iterator[StreamReport], warped: "_Warped", every: int) -> Iterator[StreamReport]:
    ahead = LookAhead[StreamReport](every)
    for report in reports:
        if report.teacher_labels is None:
            yield from ahead.wait(report, warped.image_rgb, report.prediction, warped.moved.origin_xy)
            continue
        started = time.perf_counter()
        closed = ahead.close(warped.image_rgb, report.teacher_labels)
        each_ms = _since_ms(started) / max(1, len(closed))
        for earlier, labels in closed:
            yield relabelled(earlier, labels, each_ms)
        yield report
    yield from ahead.rest()


def frozen(
    frames: Iterable[Frame], student: nn.Module, *, size_wh: tuple[int, int], device: torch.device | str = "cpu"
) -> Iterator[StreamReport]:
    """The student as it is: no teacher, no learning.

    Args:
        frames: in order.
        student: as `stream.distill` takes it; moved to `device`.
        size_wh: that the student works at.
        device: of the student.
    """
    learner = Learner(student, LearnerConfig(), device=torch.device(device))
    for frame in frames:
        started = time.perf_counter()
        prediction = learner.predict(shrink(frame.image_rgb, size_wh))
        yield _report(frame, prediction, stride=NEVER, timings_ms={"student": _since_ms(started)})


class _Propagation(Protocol):
    """Carries labels from the last teacher frame to the present one."""

    def predict(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W"]:
        """The labels of the next frame; background before there were any."""
        ...

    def correct(self, labels: UInt8[np.ndarray, "H W"]) -> None:
        """Begin anew from the teacher's labels of the frame just predicted."""
        ...


def _propagate(
    frames: Iterable[Frame], teacher: Teacher, propagation: _Propagation, *, every: int, size_wh: tuple[int, int]
) -> Iterator[StreamReport]:
    if every < 1:
        raise ConfigError(f"every = {every}: frames from one teacher call to the next, at least 1")
    return _propagated(frames, teacher, propagation, every, size_wh)


def _propagated(
    frames: Iterable[Frame], teacher: Teacher, propagation: _Propagation, every: int, size_wh: tuple[int, int]
) -> Iterator[StreamReport]:
    last_teacher_frame = None
    for frame in frames:
        started = time.perf_counter()
        prediction = propagation.predict(frame.image_rgb)
        timings_ms = {"student": _since_ms(started)}
        if not has_elapsed(frame.index, last_teacher_frame=last_teacher_frame, stride=every):
            yield _report(frame, prediction, stride=every, timings_ms=timings_ms)
            continue
        started = time.perf_counter()
        answer = teacher(frame.image_rgb, frame_index=frame.index)
        timings_ms["teacher"] = _since_ms(started)
        labels = resize_labels(answer.labels, size_wh)
        propagation.correct(labels)
        last_teacher_frame = frame.index
        accuracy = frame_iou(prediction, labels, len(teacher.classes))
        yield _report(frame, prediction, stride=every, timings_ms=timings_ms, labels=labels, accuracy=accuracy)


@final
class _Held:
    """Labels that stay where they are."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self._labels = np.zeros(size_wh[::-1], np.uint8)

    def predict(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W"]:
        return self._labels

    def correct(self, labels: UInt8[np.ndarray, "H W"]) -> None:
        self._labels = labels


@final
class _Warped:
    """Labels that move with the picture."""

    def __init__(self, size_wh: tuple[int, int], optical_flow: OpticalFlow | None) -> None:
        self.moved = MovedLabels(size_wh, optical_flow)
        self.moved.restart(np.zeros(size_wh[::-1], np.uint8))
        self.image_rgb = np.zeros((*size_wh[::-1], 3), np.uint8)  # the last frame, as the flow sees it

    def predict(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W"]:
        self.image_rgb = shrink(image_rgb, self.moved.size_wh)
        labels = self.moved.follow(self.image_rgb)
        assert labels is not None
        return labels

    def correct(self, labels: UInt8[np.ndarray, "H W"]) -> None:
        self.moved.restart(labels)


def _report(
    frame: Frame,
    prediction: UInt8[np.ndarray, "h w"],
    *,
    stride: int,
    timings_ms: dict[str, float],
    labels: UInt8[np.ndarray, "h w"] | None = None,
    accuracy: float | None = None,
) -> StreamReport:
    """A report without learning; `labels` are the teacher's, where it ran."""
    return StreamReport(
        frame.index,
        float(frame.time_s),
        labels=prediction if labels is None else labels,
        prediction=prediction,
        teacher_labels=labels,
        stride=stride,
        updates=0,
        accuracy=accuracy,
        accuracy_after=accuracy,
        loss=None,
        timings_ms=timings_ms,
        student_ran=stride == NEVER,
    )


def _since_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
