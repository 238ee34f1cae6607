"""Frames of a stream that are worth a person's look (section 6.2), from what its run wrote down.

Three reasons: adapting took most effort; the teacher disagrees with the student and with what it said itself before
and after (figure 6.1); and both are unsure: learning the frame did not help. The first two are the events of
`stream.events`; the second needs the pictures of the lessons.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import cv2

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.files import read_object, write_bytes, write_text
from narrowcast.core.runs import RUN, read_reports
from narrowcast.stream.events import Dispute, EventsConfig, disputes, efforts
from narrowcast.stream.lesson_pictures import FOLDER as LESSONS
from narrowcast.stream.lesson_pictures import read_lessons
from narrowcast.video.source import open_source

FRAMES, TABLE = "frames", "frames.csv"
MARGIN = 0.05  # of mean IoU, for "did not help"; ours
REASONS = ("effort", "dispute", "unsure")
Ranked = Mapping[str, Sequence["Picked"]]


@dataclass(frozen=True, slots=True)
class Picked:
    """A frame, why it was picked, and how much that reason holds (more is more)."""

    frame: int
    time_s: float
    reason: str
    score: float
    accuracy: float
    updates: int


def candidates(run: Path) -> Ranked:
    """For each reason the frames of a run that it holds for, the best first; no disputes where it kept no lessons.

    Raises:
        SourceError: a picture of a lesson cannot be read.
    """
    found = disputes(read_lessons(run), EventsConfig()) if (run / LESSONS).exists() else iter(())
    return ranked(list(read_reports(run)), list(found))


def ranked(reports: Sequence[Mapping[str, Any]], disputed: Sequence[Dispute]) -> Ranked:
    """For each reason the frames that it holds for, the best first.

    Args:
        reports: lines of a run's `reports.jsonl`; of a live one only efforts can be told, its lessons end later.
        disputed: regions of its lessons.
    """
    lessons = {lesson.frame: lesson for lesson in efforts(reports)}
    areas: dict[int, float] = {}
    for one in disputed:
        areas[one.frame] = areas.get(one.frame, 0.0) + one.area
    scores = {
        "effort": {one.frame: one.updates - one.accuracy for one in lessons.values() if one.updates},
        "dispute": {frame: area for frame, area in areas.items() if frame in lessons},
        "unsure": {
            report["frame"]: 1 - report["accuracy_after"]
            for report in reports
            if report["frame"] in lessons and report["updates"] and _did_not_help(report)
        },
    }
    return {
        reason: [
            Picked(
                frame, lessons[frame].time_s, reason, round(score, 4), lessons[frame].accuracy, lessons[frame].updates
            )
            for frame, score in sorted(own.items(), key=lambda pair: (-pair[1], pair[0]))
        ]
        for reason, own in scores.items()
    }


def _did_not_help(report: Mapping[str, Any]) -> bool:
    before, after = report["accuracy"], report["accuracy_after"]
    return before is not None and after is not None and after < before + MARGIN


def in_turns(found: Ranked, *, num: int, apart: int) -> list[Picked]:
    """At most `num` frames, the reasons in turns, any two at least `apart` frames from each other; in order."""
    chosen: list[Picked] = []
    for candidate in by_turns(found):
        if len(chosen) == num:
            break
        if all(abs(candidate.frame - other.frame) >= apart for other in chosen):
            chosen.append(candidate)
    return sorted(chosen, key=lambda one: one.frame)


def by_turns(found: Ranked) -> Iterator[Picked]:
    """The best of each reason, the second of each, and so on."""
    return (one for one in chain.from_iterable(zip_longest(*found.values())) if one is not None)


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
    picked = in_turns(candidates(run), num=num, apart=apart)
    if not picked:
        raise UsageError(f"{run}: no frame was learned, so there is nothing to pick")
    write_frames(about["config"]["source"], out, {one.frame for one in picked})
    table = io.StringIO()
    rows = csv.DictWriter(table, ["path", *asdict(picked[0])], lineterminator="\n")
    rows.writeheader()
    rows.writerows({"path": f"{FRAMES}/{one.frame:08}.png", **asdict(one)} for one in picked)
    write_text(out / TABLE, table.getvalue())
    return picked


def write_frames(source: str, out: Path, wanted: Collection[int]) -> None:
    """Write these frames of a source as PNGs in `out/frames`."""
    with open_source(source, max_frames=max(wanted) + 1) as frames:
        for frame in frames:
            if frame.index in wanted:
                write_bytes(out / FRAMES / f"{frame.index:08}.png", _png(frame.image_rgb))


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
