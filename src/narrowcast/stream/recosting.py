"""What a run would have cost under another teacher: arithmetic on measured parts, never a measurement."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MASK_RCNN = 91.0  # its multiply-adds over JITNet's, one inference each; table 2.1


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a run.

    Attributes:
        share: of what the teacher on every frame costs; below 1 is a gain.
        speedup: the teacher on every frame over the run.
    """

    share: float
    speedup: float


def measured(row: Mapping[str, Any]) -> Cost:
    """The cost that was measured."""
    return Cost(1 / row["speedup"], row["speedup"])


def recosted(row: Mapping[str, Any], *, teacher_ms: float) -> Cost:
    """The cost if each of the run's teacher calls had taken `teacher_ms`, all else being as it was measured.

    >>> row = {"frames": 100, "teacher_frames": 10, "teacher_s": 1.0, "total_s": 3.0}
    >>> recosted(row, teacher_ms=200.0)
    Cost(share=0.2, speedup=5.0)
    """
    every_frame_s = row["frames"] * teacher_ms / 1e3
    total_s = row["total_s"] - row["teacher_s"] + row["teacher_frames"] * teacher_ms / 1e3
    return Cost(total_s / every_frame_s, every_frame_s / total_s)


def student_time(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Milliseconds of one inference of the student, in the rows of one stream: of the frozen one where there is one.

    None where no row is of a network that predicts alone, or most of the time.
    """
    with_net: Sequence[Mapping[str, Any]] = [
        row for row in rows if row["student_macs"] and row.get("student_frames", row["frames"]) > row["frames"] / 2
    ]
    frozen = [row for row in with_net if row["method"] == "frozen"]
    times_ms = [row["student_ms_p50"] for row in frozen or with_net]
    return statistics.median(times_ms) if times_ms else None
