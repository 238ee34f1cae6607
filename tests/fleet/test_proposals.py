"""What is proposed for picked frames, how it is drawn, and what a person's verdicts make of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import CLASSES, flat_labels
from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.files import write_json
from narrowcast.fleet.proposals import Verdict, agreed, drawn_for, label_judged, proposals, rated, write_proposals
from narrowcast.models.classes import parse_classes
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.lesson_pictures import LessonPicture
from narrowcast.video.labels import read_label_png, write_label_png

SIZE_WH = (64, 48)
SCENE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)  # it stands still: flow finds no motion
LEFT = flat_labels(size_wh=SIZE_WH, block=(slice(10, 40), slice(4, 24), 1))
RIGHT = flat_labels(size_wh=SIZE_WH, block=(slice(10, 40), slice(36, 60), 2))
NONE = flat_labels(size_wh=SIZE_WH)
STEM = "{:08}-{}"


def lesson(frame: int, student: np.ndarray, teacher: np.ndarray) -> LessonPicture:
    return LessonPicture(frame, SCENE, student, teacher)


LESSONS = [
    lesson(0, NONE, LEFT),
    lesson(4, LEFT, NONE),  # the teacher misses what it saw before and after
    lesson(8, LEFT, LEFT),
    lesson(12, RIGHT, LEFT),
]


def test_two_of_three_lessons_agree_or_nothing_is_known() -> None:
    found = agreed(LESSONS[0], LESSONS[1], LESSONS[2])
    assert found is not None
    assert (found == LEFT).mean() > 0.98  # flow moves an edge by a pixel at most
    differs = agreed(lesson(0, NONE, LEFT), lesson(4, NONE, NONE), lesson(8, NONE, np.where(LEFT == 1, 2, NONE)))
    assert differs is not None
    assert (differs[LEFT == 1] == 255).mean() > 0.9
    assert (differs[LEFT == 0] == 0).mean() > 0.95
    assert agreed(None, LESSONS[0], LESSONS[1]) is None


def test_what_hardly_differs_is_proposed_once() -> None:
    found = [(one.frame, one.who) for one in proposals(LESSONS, {0, 4, 8, 12, 99})]
    assert found == [(0, "teacher"), (0, "student"), (4, "teacher"), (4, "student"), (8, "teacher"), (12, "teacher"),
                     (12, "student")]  # fmt: skip
    assert [one.frame for one in proposals(LESSONS, {8})] == [8]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Frames 4 and 12, picked from a run with those lessons, and what is proposed for them."""
    run, out = tmp_path / "run", tmp_path / "picked"
    write_json(run / "run.json", {"classes": list(CLASSES)})
    (run / "lessons").mkdir()
    for one in LESSONS:
        Image.fromarray(one.image_rgb).save(run / "lessons" / f"{one.frame:08}.jpg", quality=95)
        write_label_png(run / "lessons" / f"{one.frame:08}-student.png", one.student)
        write_label_png(run / "lessons" / f"{one.frame:08}-teacher.png", one.teacher)
    (out / "frames").mkdir(parents=True)
    for frame in (4, 12):
        Image.fromarray(SCENE).resize((128, 96)).save(out / "frames" / f"{frame:08}.png")
    assert write_proposals(run, out, {4, 12}) == 4
    return out


def photo(out: Path, frame: int, who: str) -> Path:
    return out / "proposals" / "photos" / f"{STEM.format(frame, who)}.jpg"


def test_a_picture_shows_the_frame_and_beside_it_the_labels_over_it(out: Path) -> None:
    assert [(one.frame, one.who) for one in drawn_for(out / "frames")] == [
        (4, "student"), (4, "teacher"), (12, "student"), (12, "teacher"),
    ]  # fmt: skip
    pixels = np.array(Image.open(photo(out, 4, "student"))).astype(int)
    assert pixels.shape == (96, 256, 3)
    inside = (slice(30, 70), slice(14, 40))
    right = pixels[:, 128:]
    assert np.abs(right[inside] - pixels[:, :128][inside]).mean() > 15  # tinted
    assert np.abs(right[84:, 80:] - pixels[84:, 80:128]).mean() < 10  # and elsewhere as it is


def test_the_newest_right_proposal_of_a_frame_becomes_its_labels(out: Path, tmp_path: Path) -> None:
    drawn, labels = drawn_for(out / "frames"), tmp_path / "labels"
    verdicts = {
        photo(out, 4, "student"): Verdict(True, 5),
        photo(out, 4, "teacher"): Verdict(True, 2),
        photo(out, 12, "student"): Verdict(False, 9),
    }
    judged = label_judged(drawn, verdicts, labels)
    assert (judged.photos, judged.right, judged.frames) == (3, 2, 1)
    assert (judged.several, judged.without, judged.waiting) == (1, 1, 1)
    assert [path.name for path in labels.glob("*.png")] == ["00000004.png"]
    assert (read_label_png(labels / "00000004.png") == LEFT).all()
    assert (labels / "classes.txt").read_text(encoding="utf-8").split() == list(CLASSES)
    with pytest.raises(UsageError, match="holds labels already"):
        label_judged(drawn, verdicts, labels)


def test_nothing_right_or_nothing_proposed_is_said(out: Path, tmp_path: Path) -> None:
    drawn = drawn_for(out / "frames")
    with pytest.raises(UsageError, match="none of 4 proposals was judged right"):
        label_judged(drawn, {drawn[0].photo: Verdict(False, 1)}, tmp_path / "labels")
    with pytest.raises(SourceError, match="kept its lessons"):
        drawn_for(tmp_path / "elsewhere" / "frames")
    (tmp_path / "bare").mkdir()
    assert write_proposals(tmp_path / "bare", out, {4}) == 0


class Left:
    """Answers with what is on the left, whatever it sees."""

    classes = CLASSES

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        assert image_rgb.shape == (96, 128, 3)
        return TeacherLabels(LEFT.repeat(2, 0).repeat(2, 1))


def test_another_teacher_rates_proposals(out: Path) -> None:
    found = rated(drawn_for(out / "frames"), out / "frames", Left(), parse_classes("all", CLASSES))
    assert {(one.frame, one.who): iou for one, iou in found} == {
        (4, "student"): 1.0, (4, "teacher"): 0.0, (12, "student"): 0.0, (12, "teacher"): 1.0,
    }  # fmt: skip
    with pytest.raises(UsageError, match="labels of background, round, square"):
        list(rated(drawn_for(out / "frames"), out / "frames", Left(), parse_classes("round", CLASSES)))
