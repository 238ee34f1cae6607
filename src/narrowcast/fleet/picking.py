"""Frames of a stream that are worth a person's look (section 6.2), from what its run wrote down.

Three reasons, in turns: adapting took most effort; student and teacher disagree though the student was right around it
(figure 6.1); and both are unsure: learning the frame did not help.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import cv2

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.files import read_object, write_bytes, write_text
from narrowcast.core.runs import RUN, read_reports
from narrowcast.video.source import open_source

FRAMES, TABLE = "frames", "frames.csv"
AROUND = 3  # teacher frames before and after, for what is usual; ours
MARGIN = 0.05  # of mean IoU, for "right around it" and "did not help"; ours
REASONS = ("effort", "dispute", "unsure")


@dataclass(frozen=True, slots=True)
class Picked:
    """A frame, why it was picked, and how much that reason holds (more is more)."""

    frame: int
    time_s: float
    reason: str
    score: float
    accuracy: float
    updates: int


def pick(reports: Iterable[dict[str, Any]], *, num: int, apart: int) -> list[Picked]:
    """At most `num` frames, the reasons in turns, any two at least `apart` frames from each other; in order.

    Args:
        reports: lines of a run's `reports.jsonl`.
    """
    taught = [report for report in reports if report["accuracy"] is not None]
    ranked = [sorted(found, key=lambda one: (-one.score, one.frame)) for found in _scored(taught)]
    chosen: list[Picked] = []
    for candidate in chain.from_iterable(zip_longest(*ranked)):
        if len(chosen) == num:
            break
        if candidate is not None and all(abs(candidate.frame - other.frame) >= apart for other in chosen):
            chosen.append(candidate)
    return sorted(chosen, key=lambda one: one.frame)


def _scored(taught: Sequence[dict[str, Any]]) -> Iterator[list[Picked]]:
    """For each reason the frames that it holds for."""
    yield [_picked(report, "effort", report["updates"] - report["accuracy"]) for report in taught if report["updates"]]
    disputes = []
    for ix, report in enumerate(taught):
        around = [other["accuracy"] for other in (*taught[max(0, ix - AROUND) : ix], *taught[ix + 1 : ix + 1 + AROUND])]
        usual = sum(around) / len(around) if around else 0.0
        if usual - report["accuracy"] > MARGIN:
            disputes.append(_picked(report, "dispute", usual - report["accuracy"]))
    yield disputes
    yield [
        _picked(report, "unsure", 1 - report["accuracy_after"])
        for report in taught
        if report["updates"] and report["accuracy_after"] < report["accuracy"] + MARGIN
    ]


def _picked(report: dict[str, Any], reason: str, score: float) -> Picked:
    return Picked(report["frame"], report["time_s"], reason, round(score, 4), report["accuracy"], report["updates"])


def export(run: Path, out: Path, *, num: int, apart: int) -> list[Picked]:
    """Write the picked frames of a run as PNGs in `out/frames`, and why in `out/frames.csv`.

    Raises:
        SourceError: `run` is no run's folder, or its source is not there any more.
        UsageError: nothing was learned in it, or `out` holds frames already.
    """
    about = read_object(run / RUN)
    if about is None:
        raise SourceError(f"{run}: is not the folder of a run (it has no {RUN})")
    if (out / TABLE).exists():
        raise UsageError(f"{out}: holds picked frames already; choose another --out")
    picked = pick(read_reports(run), num=num, apart=apart)
    if not picked:
        raise UsageError(f"{run}: no frame was learned, so there is nothing to pick")
    wanted = {one.frame: one for one in picked}
    with open_source(about["config"]["source"], max_frames=picked[-1].frame + 1) as source:
        for frame in source:
            if frame.index in wanted:
                write_bytes(out / FRAMES / f"{frame.index:08}.png", _png(frame.image_rgb))
    table = io.StringIO()
    rows = csv.DictWriter(table, ["path", *asdict(picked[0])], lineterminator="\n")
    rows.writeheader()
    rows.writerows({"path": f"{FRAMES}/{one.frame:08}.png", **asdict(one)} for one in picked)
    write_text(out / TABLE, table.getvalue())
    return picked


def set_aside(source: str, out: Path, *, first: int, every: int, num: int) -> int:
    """Write every `every`-th frame of a source from `first` on as PNGs in `out/frames`; how many there were.

    Raises:
        SourceError: the source ends before `first`.
    """
    written = 0
    with open_source(source, start_index=first, max_frames=(num - 1) * every + 1) as frames:
        for frame in frames:
            if (frame.index - first) % every == 0:
                write_bytes(out / FRAMES / f"{frame.index:08}.png", _png(frame.image_rgb))
                written += 1
    if not written:
        raise SourceError(f"{source}: has no frame {first}")
    return written


def _png(image_rgb: Any) -> bytes:
    is_made, content = cv2.imencode(".png", image_rgb[..., ::-1])
    assert is_made
    return content.tobytes()
