"""What a method says of each frame of a stream."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from narrowcast.core.frames import Frame
from narrowcast.stream.recall import Visit


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveFacts:
    """What is to be said of a frame of a live stream, where the teacher's answers come late.

    Attributes:
        taught_frame: the frame of which a lesson has ended just before this one; the report's `updates`, `accuracy`,
            `loss` and times of teacher and learning are that lesson's. None: none has.
        dropped: frames of the source that were dropped just before this one.
        is_after_gap: the source was away before this frame, or its size or clock jumped.
        is_swapped: new weights were taken over for this frame.
        weights_age, labels_age: frames since the one that the weights last learned from, and since the one whose
            teacher's labels the student is told of; None without one.
    """

    taught_frame: int | None
    dropped: int
    is_after_gap: bool
    is_swapped: bool
    weights_age: int | None
    labels_age: int | None


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What happened on one frame. Maps are at the student's size.

    Attributes:
        frame, time_s: the frame's index and its time in seconds.
        labels: the output for this frame.
        prediction: what was said before the teacher could be heard of this frame, by the student or, where it is
            silent, by the moved labels alone; this is what is scored.
        teacher_labels: the teacher's labels where it ran, else None.
        stride: frames until the teacher is due again, decided on this frame where it ran; where it is asked when the
            picture has changed, the frames between its last two.
        updates: gradient steps on this frame.
        accuracy: mean IoU of `prediction` against the teacher, None where it did not run.
        accuracy_after: the same after learning.
        loss: of the last gradient step, None without one.
        timings_ms: student (prediction of this frame), teacher, learning (all of it), update (one step's mean).
        live: what a live stream has to say more.
        student_ran: whether `prediction` is the student's; else labels were moved or held.
        visit: of a frame on which the stream was found to be at another place.
    """

    frame: int
    time_s: float
    labels: UInt8[np.ndarray, "h w"] = field(repr=False)
    prediction: UInt8[np.ndarray, "h w"] = field(repr=False)
    teacher_labels: UInt8[np.ndarray, "h w"] | None = field(repr=False)
    stride: int
    updates: int
    accuracy: float | None
    accuracy_after: float | None
    loss: float | None
    timings_ms: Mapping[str, float]
    live: LiveFacts | None = None
    student_ran: bool = True
    visit: Visit | None = None

    @property
    def teacher_ran(self) -> bool:
        return self.teacher_labels is not None or (self.live is not None and self.live.taught_frame is not None)

    def to_json(self) -> dict[str, Any]:
        """The report without its maps, for `reports.jsonl`."""
        return {
            "frame": self.frame,
            "time_s": round(self.time_s, 6),
            "teacher_ran": self.teacher_ran,
            "student_ran": self.student_ran,
            "stride": self.stride,
            "updates": self.updates,
            "accuracy": _rounded(self.accuracy),
            "accuracy_after": _rounded(self.accuracy_after),
            "loss": _rounded(self.loss),
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            **({} if self.live is None else asdict(self.live)),
            **({} if self.visit is None else {"visit": asdict(self.visit)}),
        }


def predicted(
    frame: Frame, prediction: UInt8[np.ndarray, "h w"], *, stride: int, timings_ms: Mapping[str, float], **more: Any
) -> StreamReport:
    """The report of a frame that was predicted and no more; `more` are fields that have a default."""
    return StreamReport(
        frame.index,
        float(frame.time_s),
        labels=prediction,
        prediction=prediction,
        teacher_labels=None,
        stride=stride,
        updates=0,
        accuracy=None,
        accuracy_after=None,
        loss=None,
        timings_ms=timings_ms,
        **more,
    )


def relabelled(report: StreamReport, labels: UInt8[np.ndarray, "h w"], more_ms: float) -> StreamReport:
    """`report` with labels that were found later."""
    timings = dict(report.timings_ms) | {"student": report.timings_ms["student"] + more_ms}
    return replace(report, labels=labels, prediction=labels, timings_ms=timings)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
