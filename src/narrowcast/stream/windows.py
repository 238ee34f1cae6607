"""A run's reports.jsonl as a few windows of video time: as many as a plot can show, however long the run was.

The file is read once, line by line; only one window's values are held at a time.
"""

import json
import math
import statistics
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

# Seconds. Figure 2.4 averages over 30 s, which is what 20 minutes get here; the other widths are ours.
WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
STAGES = ("student", "teacher", "learning")  # what a frame's time is made of
_MAX_WINDOWS = 60  # ours: a longer row of points is harder to read, not more exact
_FRAMES_A_WINDOW = 8  # ours: the least stride of section 2.2.3, so that most windows hold a teacher frame
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the lowest of some values."""

    median: float
    lowest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened between two moments of the video.

    Attributes:
        accuracy: of the student's predictions on teacher frames; None without one.
        miou: the same on frames that were scored.
        stride: in frames.
        ms_per_frame: of each stage, spread over all frames of the window.
    """

    start_s: float
    frames: int
    teacher_frames: int
    updates: int
    stride: Spread
    accuracy: Spread | None
    miou: Spread | None
    ms_per_frame: Mapping[str, float]


@dataclass(slots=True)
class Totals:
    """Sums over all reports; what a report page shows where a run left no summary."""

    frames: int = 0
    teacher_frames: int = 0
    updates: int = 0
    scored_frames: int = 0
    scored_without_teacher: int = 0
    accuracies: int = 0
    accuracy_sum: float = 0.0
    stage_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    stage_calls: Counter[str] = field(default_factory=Counter)

    def mean_accuracy(self) -> float | None:
        """The mean of the student's accuracy over teacher frames; None without one."""
        return self.accuracy_sum / self.accuracies if self.accuracies else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """A run in `windows` of `width_s` seconds, empty ones left out.

    Attributes:
        picked: the reports of the frames that were asked for.
        damaged_lines: lines that are not reports; a run that was killed leaves at most one.
    """

    width_s: float
    windows: list[Window]
    totals: Totals
    picked: dict[int, dict[str, Any]]
    damaged_lines: int

    def span_s(self) -> tuple[float, float]:
        """Video time of the first window's start and the last one's end; (0, 0) without windows."""
        return (self.windows[0].start_s, self.windows[-1].start_s + self.width_s) if self.windows else (0.0, 0.0)


def read_curves(path: Path, *, pick: Collection[int] = (), max_windows: int = _MAX_WINDOWS) -> Curves:
    """The reports of `path` in at most `max_windows` windows, give or take the last; a missing file has no reports.

    Args:
        pick: indices of frames whose reports are wanted themselves.
    """
    totals, picked = Totals(), {}
    windows: list[Window] = []
    lines = _Lines(path)
    first, last = lines.ends()
    width_s = _width_s(first, last, max_windows=max_windows)
    current: _OpenWindow | None = None
    for report in lines:
        number = math.floor((report["time_s"] - first["time_s"]) / width_s)
        if current is None or number > current.number:  # time that jumps back stays in the window that is open
            windows += [current.close()] if current else []
            current = _OpenWindow(number, first["time_s"] + number * width_s)
        current.add(report)
        _count(report, totals)
        if report["frame"] in pick:
            picked[report["frame"]] = report
    windows += [current.close()] if current else []
    return Curves(width_s=width_s, windows=windows, totals=totals, picked=picked, damaged_lines=lines.damaged)


def number_of(value: object) -> float | None:
    """`value` where it is a finite number, else None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) else None


@final
class _Lines:
    """The reports of a file, in order; counts the lines that are none."""

    def __init__(self, path: Path) -> None:
        self.path, self.damaged = path, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                report = _parse(line)
                if report is not None:
                    yield report
                elif line.strip():
                    self.damaged += 1

    def ends(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The first and the last report (a made-up one where there is none), without reading what is between."""
        nothing = {"frame": 0, "time_s": 0.0}
        first = next(iter(self), nothing)
        self.damaged = 0  # the lines are going to be read again
        if first is nothing:
            return nothing, nothing
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
            tail = reversed(file.readlines())
        return first, next(filter(None, map(_parse, tail)), first)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The report on `line`; None where it was cut off or is something else."""
    try:
        report = json.loads(line)
    except ValueError:
        return None
    is_report = (
        isinstance(report, dict) and type(report.get("frame")) is int and number_of(report.get("time_s")) is not None
    )
    return report if is_report else None


def _width_s(first: Mapping[str, Any], last: Mapping[str, Any], *, max_windows: int) -> float:
    """The least round width that gives few enough windows, and windows of enough frames."""
    duration_s = max(0.0, last["time_s"] - first["time_s"])
    frame_s = duration_s / max(1, last["frame"] - first["frame"])
    least_s = max(duration_s / max_windows, _FRAMES_A_WINDOW * frame_s)
    days = math.ceil(least_s / WIDTHS_S[-1])
    return next((float(width_s) for width_s in WIDTHS_S if width_s >= least_s), days * WIDTHS_S[-1])


def _count(report: Mapping[str, Any], totals: Totals) -> None:
    totals.frames += 1
    totals.updates += int(number_of(report.get("updates")) or 0)
    is_scored, has_teacher = number_of(report.get("miou")) is not None, report.get("teacher_ran") is True
    totals.teacher_frames += has_teacher
    totals.scored_frames += is_scored
    totals.scored_without_teacher += is_scored and not has_teacher
    accuracy = number_of(report.get("accuracy"))
    if accuracy is not None:
        totals.accuracies += 1
        totals.accuracy_sum += accuracy
    for stage, value_ms in _timings(report):
        totals.stage_ms[stage] += value_ms
        totals.stage_calls[stage] += 1


def _timings(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    timings = report.get("timings_ms")
    if not isinstance(timings, dict):
        return
    for stage in STAGES:
        value_ms = number_of(timings.get(stage))
        if value_ms is not None:
            yield stage, value_ms


@final
class _OpenWindow:
    """The window that is being filled."""

    def __init__(self, number: int, start_s: float) -> None:
        self.number, self.start_s = number, start_s
        self.frames = self.teacher_frames = self.updates = 0
        self.strides: Counter[int] = Counter()
        self.accuracies, self.mious = array("d"), array("d")
        self.stage_ms: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    def add(self, report: Mapping[str, Any]) -> None:
        self.frames += 1
        self.teacher_frames += report.get("teacher_ran") is True
        self.updates += int(number_of(report.get("updates")) or 0)
        self.strides[int(number_of(report.get("stride")) or 0)] += 1
        for values, name in ((self.accuracies, "accuracy"), (self.mious, "miou")):
            value = number_of(report.get(name))
            if value is not None:
                values.append(value)
        for stage, value_ms in _timings(report):
            self.stage_ms[stage] += value_ms

    def close(self) -> Window:
        return Window(
            start_s=self.start_s,
            frames=self.frames,
            teacher_frames=self.teacher_frames,
            updates=self.updates,
            stride=_spread_of_counts(self.strides),
            accuracy=_spread(self.accuracies),
            miou=_spread(self.mious),
            ms_per_frame={stage: value_ms / self.frames for stage, value_ms in self.stage_ms.items()},
        )


def _spread(values: "array[float]") -> Spread | None:
    return Spread(statistics.median(values), min(values)) if values else None


def _spread_of_counts(counts: Counter[int]) -> Spread:
    """With the lower median: a stride that really was, not one between two."""
    passed, half = 0, counts.total() / 2
    for value in sorted(counts):
        passed += counts[value]
        if passed >= half:
            return Spread(value, min(counts))
    raise AssertionError("a window has frames")
