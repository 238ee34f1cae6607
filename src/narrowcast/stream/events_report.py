"""`events/` of a run: a page, a contact sheet of peaks, and what the teacher alone said as photos with labels."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from narrowcast.core import page
from narrowcast.core.amounts import clock, percent
from narrowcast.core.errors import SourceError
from narrowcast.core.files import write_bytes, write_json, write_text
from narrowcast.core.page import INK, SERIES, Block, Gallery, KeyFigure, Section, Table, Text
from narrowcast.core.runs import RUN, read_reports
from narrowcast.stream.events import Dispute, Effort, EventsConfig, around, disputes, efforts, peaks_of
from narrowcast.stream.lesson_pictures import LessonPicture, read_lessons
from narrowcast.video.overlay import overlay, side_by_side

FOLDER, CANDIDATES = "events", "candidates.csv"
MOST_PICTURES = 24  # of disputed frames, on the page
COLUMNS = ("path", "label", "category", "frame", "time_s", "teacher", "student", "area", "before", "after", "box_xyxy")


def write_events(run: Path, *, config: EventsConfig) -> dict[str, Any]:
    """Write `events/` into the folder of a run; what was found, as `events/summary.json` holds it.

    Raises:
        SourceError: `run` is not the folder of a run with `lessons/`.
        StorageError: it cannot be written.
    """
    classes = _classes(run)
    lessons = list(efforts(read_reports(run)))
    peaks, folder = peaks_of(lessons, config), run / FOLDER
    at_peaks = {peak.frame for peak in peaks}
    times_s = {lesson.frame: lesson.time_s for lesson in lessons}
    disputed = sorted(disputes(read_lessons(run), config), key=lambda one: -one.area)[: config.candidates]
    rows: list[dict[str, Any]] = []
    for lesson in read_lessons(run):
        if lesson.frame in at_peaks:
            _write_jpeg(folder / "peaks" / f"{lesson.frame:08}.jpg", lesson.image_rgb)
        if own := [one for one in disputed if one.frame == lesson.frame]:
            rows += _export(folder, lesson, own, classes, times_s.get(lesson.frame))
            _write_jpeg(folder / "disputed" / f"{lesson.frame:08}.jpg", _both(lesson))
    peaks = [one for one in peaks if (folder / "peaks" / f"{one.frame:08}.jpg").exists()]
    _write_csv(folder / CANDIDATES, rows)
    summary = {
        "lessons": len(lessons),
        "updates": sum(lesson.updates for lesson in lessons),
        "peaks": [
            {"frame": one.frame, "time_s": one.time_s, "updates": one.updates, "accuracy": one.accuracy}
            for one in peaks
        ],
        "candidates": len(rows),
    }
    write_json(folder / "summary.json", summary)
    write_text(folder / "report.html", page.render(_page(run, lessons, peaks, rows)))
    return summary


def _classes(run: Path) -> list[str]:
    try:
        return list(json.loads((run / RUN).read_text(encoding="utf-8"))["classes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{run}: not the folder of a run: it has no {RUN} with classes") from error


def _export(
    folder: Path, lesson: LessonPicture, own: Sequence[Dispute], classes: Sequence[str], time_s: float | None
) -> list[dict[str, Any]]:
    """A photo of each region with what is around it, and the row of the CSV that says what it may be."""
    rows = []
    for number, one in enumerate(own):
        path = Path("images") / f"{lesson.frame:08}-{number}.jpg"
        _write_jpeg(folder / path, around(lesson.image_rgb, one.box_xyxy))
        is_there = one.student_class != 0  # what the student sees there; else the teacher sees what is not there
        rows.append(
            {
                "path": str(path),
                "label": "positive" if is_there else "unsure",  # a thing that the teacher sees once may well be there
                "category": classes[one.student_class if is_there else one.teacher_class],
                "frame": lesson.frame,
                "time_s": "" if time_s is None else round(time_s, 3),
                "teacher": classes[one.teacher_class],
                "student": classes[one.student_class],
                "area": round(one.area, 5),
                "before": round(one.before, 3),
                "after": round(one.after, 3),
                "box_xyxy": " ".join(map(str, one.box_xyxy)),
            }
        )
    return rows


def _both(lesson: LessonPicture) -> UInt8[np.ndarray, "h w 3"]:
    return side_by_side(overlay(lesson.image_rgb, lesson.student), overlay(lesson.image_rgb, lesson.teacher))


def _write_jpeg(path: Path, image_rgb: UInt8[np.ndarray, "h w 3"]) -> None:
    is_encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert is_encoded
    write_bytes(path, jpeg.tobytes())


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in rows)
    write_text(path, text.getvalue())


def _page(run: Path, lessons: Sequence[Effort], peaks: Sequence[Effort], rows: Sequence[dict[str, Any]]) -> page.Page:
    folder = run / FOLDER
    at_peaks = [
        page.picture(folder / "peaks" / f"{one.frame:08}.jpg", caption=_caption(one), alt=f"Frame {one.frame}")
        for one in peaks
    ]
    frames = list(dict.fromkeys(row["frame"] for row in rows))[:MOST_PICTURES]
    wrong = [
        page.picture(
            folder / "disputed" / f"{frame:08}.jpg", caption=_dispute(frame, rows), alt=f"Frame {frame}, twice"
        )
        for frame in frames
    ]
    sections: list[tuple[str, list[Block]]] = [
        ("Effort over time", [_effort_plot(lessons, peaks)] if lessons else []),
        ("Its peaks", [Gallery(at_peaks)] if at_peaks else []),
        ("Where student and neighbouring frames disagreed with the teacher", [Gallery(wrong)] if wrong else []),
        ("How to read this", [Text(_HOW_TO_READ)]),
    ]
    folded = [Section("All candidates", [_table(rows)], is_folded=True)] if rows else []
    updates = sum(one.updates for one in lessons)
    return page.Page(
        title=f"Events of {run.resolve().name}",
        key_figures=[
            KeyFigure("Lessons", f"{len(lessons):,}", f"{updates:,} updates"),
            KeyFigure("Peaks", f"{len(peaks)}", "places of most effort"),
            KeyFigure("Candidates", f"{len(rows)}", "of the teacher, disagreed with by the student and its neighbours"),
        ],
        sections=[Section(title, blocks) for title, blocks in sections if blocks] + folded,
    )


_HOW_TO_READ = (
    "A lesson is a frame that the teacher labelled and the student learned. Its effort is the number of updates "
    "that it took: none where the student agreed already. Effort peaks where something happens that the student "
    "did not know from the minutes before; the peaks are the lessons of most updates, and of those the ones where "
    "it knew least.",
    "The teacher was disagreed with where the student says otherwise and the teacher's own labels of the lesson before "
    "and of the one after, moved here by optical flow, side with the student. Left the student, right the teacher. "
    "Who is right is not known: the teacher contradicts itself, and may be right in the one frame. "
    "The regions are exported as photos with the label that the student suggests, or none where only the teacher "
    "sees something: candidates, which a person verifies.",
)


def _caption(lesson: Effort) -> str:
    before = f"student at {percent(lesson.accuracy)} before"
    return f"{clock(lesson.time_s)}, frame {lesson.frame}: {lesson.updates} updates, {before}"


def _dispute(frame: int, rows: Sequence[dict[str, Any]]) -> str:
    said = [f"{row['student']}, not {row['teacher']}" for row in rows if row["frame"] == frame]
    return f"Frame {frame}, student left, teacher right: disagreed with, {'; '.join(dict.fromkeys(said))}"


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    return Table(header=COLUMNS, rows=[tuple(str(row[name]) for name in COLUMNS) for row in rows])


def _effort_plot(lessons: Sequence[Effort], peaks: Sequence[Effort]) -> page.Plot:
    """Figure 6.1, bottom: updates over time, with the peaks marked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.vlines(
            [one.time_s for one in lessons], 0, [one.updates for one in lessons], color=SERIES[0], linewidth=1.2
        )
        tops = [one.updates for one in peaks]
        axes.plot([one.time_s for one in peaks], tops, "v", color=SERIES[1], markersize=5, label="peaks, shown below")
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.set(xlabel="video time (s)", ylabel="updates of a lesson", ylim=(0, None))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)

    most = max((one.updates for one in lessons), default=0)
    caption = "Each line is a lesson, as high as the updates that it took."
    alt = f"{len(lessons)} lessons over time, at most {most} updates each; {len(peaks)} peaks are marked."
    return page.plot(draw, height_in=2.6, caption=caption, alt=alt)
