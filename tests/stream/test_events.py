"""Where a stream changed, and where its teacher was disagreed with."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fakes import CLASSES, plain_frames, shapes
from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.core.files import write_json
from narrowcast.core.frames import Frame
from narrowcast.mine.exchange import read_labels
from narrowcast.stream.events import Effort, EventsConfig, disputes, efforts, moved, peaks_of
from narrowcast.stream.events_report import write_events
from narrowcast.stream.lesson_pictures import LessonPicture, LessonPictures, read_lessons
from narrowcast.stream.stream_report import StreamReport

FRAMES, LABELS = shapes(12, size_wh=(96, 64))
CONFIG = EventsConfig()
SCENE = plain_frames(1, size_wh=(96, 64))[0].image_rgb
THING = np.zeros((64, 96), np.uint8)
THING[20:40, 30:50] = 2
NOTHING = np.zeros_like(THING)


def picture(frame: int, student: np.ndarray, teacher: np.ndarray) -> LessonPicture:
    return LessonPicture(frame, SCENE, student, teacher)


def found(*teachers: np.ndarray, student: np.ndarray) -> list[tuple[int, int, int]]:
    lessons = [picture(8 * ix, student, teacher) for ix, teacher in enumerate(teachers)]
    return [(one.frame, one.student_class, one.teacher_class) for one in disputes(lessons, CONFIG)]


def test_a_teacher_that_misses_a_thing_once_is_disagreed_with() -> None:
    assert found(THING, NOTHING, THING, student=THING) == [(8, 2, 0)]


def test_a_teacher_that_sees_a_thing_once_is_disagreed_with() -> None:
    assert found(NOTHING, THING, NOTHING, student=NOTHING) == [(8, 0, 2)]


@pytest.mark.parametrize(
    ("teachers", "student"),
    [
        pytest.param((NOTHING, NOTHING, THING), THING, id="the labels before side with the teacher"),
        pytest.param((THING, NOTHING, NOTHING), THING, id="the thing has gone: those after side with the teacher"),
        pytest.param((THING, THING, THING), NOTHING, id="the student is alone"),
        pytest.param((THING, THING, THING), THING, id="nobody disagrees"),
        pytest.param((THING, NOTHING), THING, id="there is nothing after"),
    ],
)
def test_what_is_no_error_of_the_teacher(teachers: tuple[np.ndarray, ...], student: np.ndarray) -> None:
    assert found(*teachers, student=student) == []


def test_a_thing_that_was_seen_but_not_quite_there_is_no_dispute() -> None:
    """Flow loses small and fast things: the teacher was right, and the student a few pixels late."""
    beside = np.roll(THING, 14, axis=1)
    assert found(THING, beside, THING, student=THING) == []


def test_specks_are_not_worth_a_dispute() -> None:
    speck = NOTHING.copy()
    speck[5:7, 5:7] = 1
    assert found(NOTHING, speck, NOTHING, student=NOTHING) == []


def test_labels_are_moved_between_lessons() -> None:
    to = moved(LABELS[0], FRAMES[0].image_rgb, FRAMES[3].image_rgb)
    assert (to == LABELS[3]).mean() > (LABELS[0] == LABELS[3]).mean()


def test_lessons_are_read_from_reports_also_where_they_came_late() -> None:
    lines = [
        {"frame": 0, "time_s": 0.0, "updates": 4, "accuracy": 0.5},
        {"frame": 1, "time_s": 0.1, "updates": 0, "accuracy": None},
        {"frame": 2, "time_s": 0.2, "updates": 8, "accuracy": 0.25, "taught_frame": 1},
    ]
    assert list(efforts(lines)) == [Effort(0, 0.0, 4, 0.5), Effort(1, 0.1, 8, 0.25)]


def test_peaks_take_most_effort_and_keep_their_distance() -> None:
    lessons = [Effort(ix, ix / 2, updates, 0.5) for ix, updates in enumerate([8, 8, 0, 2, 1, 0, 0, 0, 0, 6])]
    peaks = peaks_of(lessons, EventsConfig(peaks=3, apart_s=1.0))
    assert [(peak.frame, peak.updates) for peak in peaks] == [(0, 8), (3, 2), (9, 6)]
    assert [peak.frame for peak in peaks_of(lessons, EventsConfig(peaks=1))] == [0]


@pytest.mark.parametrize("settings", [{"peaks": 0}, {"candidates": 0}, {"min_area": 0.0}, {"agreement": 1.5}], ids=str)
def test_settings_out_of_range_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError):
        EventsConfig(**settings)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of six lessons; in the third the teacher misses what it sees before and after."""
    path = tmp_path / "run"
    pictures, lines = LessonPictures(path), []
    for ix in range(6):
        index, teacher = 8 * ix, NOTHING if ix == 2 else THING
        lesson = report(index, student=THING, teacher=teacher)
        pictures.write(Frame(index, plain_frames(1)[0].time_s + index, SCENE), lesson)
        lines.append(json.dumps(lesson.to_json()))
    (path / "reports.jsonl").write_text("\n".join(lines) + "\n")
    write_json(path / "run.json", {"classes": list(CLASSES), "config": {}})
    return path


def report(index: int, *, student: np.ndarray, teacher: np.ndarray) -> StreamReport:
    values = {"stride": 8, "updates": 1 + index % 7, "accuracy": 0.5, "accuracy_after": 0.6, "loss": 1.0}
    return StreamReport(
        index, float(index), student, student, teacher_labels=teacher, timings_ms={"student": 1.0}, **values
    )


def test_the_events_of_a_run_are_photos_with_labels_that_mining_takes(run: Path) -> None:
    summary = write_events(run, config=CONFIG)
    assert summary["lessons"] == 6
    assert summary["candidates"] == 1
    rows = list(csv.DictReader((run / "events" / "candidates.csv").read_text().splitlines()))
    assert (rows[0]["category"], rows[0]["label"], rows[0]["student"], rows[0]["teacher"]) == (
        "square", "positive", "square", "background"
    )  # fmt: skip
    assert (run / "events" / rows[0]["path"]).exists()
    (given,) = read_labels(run / "events" / "candidates.csv", "square")
    assert (given.name, given.value) == (rows[0]["path"], "positive")
    page = (run / "events" / "report.html").read_text()
    assert "disagreed with, square, not background" in page
    assert len(list((run / "events" / "peaks").glob("*.jpg"))) == len(summary["peaks"]) > 0


def test_pictures_of_lessons_come_back_and_are_forgotten_with_the_run(run: Path) -> None:
    assert [lesson.frame for lesson in read_lessons(run)] == [0, 8, 16, 24, 32, 40]
    pictures = LessonPictures(run)
    pictures.rewind(24)
    pictures.drop(8)
    assert [lesson.frame for lesson in read_lessons(run)] == [8, 16]
    assert sorted(path.name for path in (run / "lessons").iterdir())[:3] == [
        "00000008-student.png", "00000008-teacher.png", "00000008.jpg"
    ]  # fmt: skip


def test_a_run_without_lessons_says_how_to_get_them(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"classes": list(CLASSES)})
    with pytest.raises(SourceError, match="run the stream with --output lessons"):
        write_events(tmp_path, config=CONFIG)
    with pytest.raises(SourceError, match="not the folder of a run"):
        write_events(tmp_path / "nothing", config=CONFIG)
