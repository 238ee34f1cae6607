"""Labels proposed for picked frames, drawn over them for a person to judge; what was judged right becomes theirs.

To draw outlines takes a person minutes a frame, to say that they are right a second. Three propose: the teacher when
the stream asked it, the student before it learned the frame, and what two of three lessons of the teacher agree on.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.files import read_object, write_bytes, write_text
from narrowcast.core.frames import IGNORE
from narrowcast.core.runs import RUN
from narrowcast.data.image_table import read_rgb
from narrowcast.metrics.segmentation import frame_iou
from narrowcast.models.classes import ClassMap, SelectedTeacher
from narrowcast.models.mask_folder import CLASSES_FILE, read_classes
from narrowcast.models.teacher import Teacher
from narrowcast.stream.events import EventsConfig, moved
from narrowcast.stream.lesson_pictures import FOLDER as LESSONS
from narrowcast.stream.lesson_pictures import LessonPicture, read_lessons
from narrowcast.stream.targets import resize_labels
from narrowcast.video.labels import read_label_png, write_label_png
from narrowcast.video.overlay import draw_legend, overlay, side_by_side

FOLDER, PHOTOS, LABELS = "proposals", "photos", "labels"
WHO = ("teacher", "student", "agreed")
TINT = 0.35  # of the class's colour over the frame: its edges must be seen; ours
QUALITY = 90


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one of `WHO` says of a frame, at the student's size; 255 where it cannot tell."""

    frame: int
    who: str
    labels: UInt8[np.ndarray, "h w"] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A proposal in files: the picture to judge, and its labels."""

    frame: int
    who: str
    photo: Path
    labels: Path


@dataclass(frozen=True, slots=True)
class Verdict:
    """What somebody said of a picture; `place` grows with the time at which it was said."""

    is_right: bool
    place: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What judging came to.

    Attributes:
        photos: pictures that were judged, `right` of them right.
        frames: that have labels now.
        several: of these, frames with more than one proposal that was judged right: the newest counts.
        without: frames that are left out, since no proposal of theirs was judged right.
        waiting: of these, frames with a picture that nobody has judged.
    """

    photos: int
    right: int
    frames: int
    several: int
    without: int
    waiting: int


def proposals(lessons: Iterable[LessonPicture], frames: Collection[int]) -> Iterator[Proposal]:
    """What is proposed for those of `frames` that were lessons; what hardly differs from an earlier one is left out.

    Two that differ on less of the frame than an event needs are one: a person should not be asked twice.
    """
    following = iter(lessons)
    window: list[LessonPicture | None] = [None, None, next(following, None)]
    while (window := [*window[1:], next(following, None)])[1] is not None:
        before, lesson, after = window
        assert lesson is not None
        if lesson.frame in frames:
            yield from _different(lesson, before, after)


def _different(lesson: LessonPicture, before: LessonPicture | None, after: LessonPicture | None) -> Iterator[Proposal]:
    shown: list[np.ndarray] = []
    for who, labels in (
        ("teacher", lesson.teacher),
        ("student", lesson.student),
        ("agreed", agreed(before, lesson, after)),
    ):
        least = EventsConfig().min_area
        if labels is not None and all((labels != other).mean() >= least for other in shown):
            shown.append(labels)
            yield Proposal(lesson.frame, who, labels)


def agreed(
    before: LessonPicture | None, lesson: LessonPicture, after: LessonPicture | None
) -> UInt8[np.ndarray, "h w"] | None:
    """What two of three say: the teacher of this lesson, and of the ones before and after, moved here by flow.

    255 where all three differ; None for the first and the last lesson, and where a neighbour is of another size.
    """
    if before is None or after is None or not before.image_rgb.shape == lesson.image_rgb.shape == after.image_rgb.shape:
        return None
    early, late = (moved(other.teacher, other.image_rgb, lesson.image_rgb) for other in (before, after))
    other = np.where(early == lesson.teacher, lesson.teacher, np.uint8(IGNORE))
    return np.where(late == early, early, np.where(late == lesson.teacher, late, other))


def write_proposals(run: Path, out: Path, frames: Collection[int]) -> int:
    """Draw what a run's lessons propose for the picked frames in `out/frames`; how many there are.

    `out/proposals/photos` gets a picture for each, as `00000012-teacher.jpg`: the frame on the left, the same with the
    labels on the right; `out/proposals/labels` the labels, and classes.txt. 0 where the run kept no lessons.

    Raises:
        SourceError: a picture of a lesson cannot be read.
    """
    if not (run / LESSONS).exists():
        return 0
    classes = tuple((read_object(run / RUN) or {}).get("classes", ()))
    folder, num = out / FOLDER, 0
    for one in proposals(read_lessons(run), frames):
        image_rgb = np.array(read_rgb(out / "frames" / f"{one.frame:08}.png"))
        name = f"{one.frame:08}-{one.who}"
        write_label_png(folder / LABELS / f"{name}.png", one.labels)
        write_bytes(folder / PHOTOS / f"{name}.jpg", _jpeg(_picture(image_rgb, one.labels, classes)))
        num += 1
    if num:
        write_text(folder / LABELS / CLASSES_FILE, "\n".join(classes) + "\n")
    return num


def _picture(image_rgb: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    return side_by_side(draw_legend(image_rgb, classes), overlay(image_rgb, labels, alpha=TINT))


def _jpeg(image_rgb: np.ndarray) -> bytes:
    is_made, content = cv2.imencode(".jpg", image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert is_made
    return content.tobytes()


def drawn_for(frames: Path) -> list[Drawn]:
    """The proposals beside a folder of picked frames, in order.

    Raises:
        SourceError: there are none.
    """
    folder = frames.absolute().parent / FOLDER
    photos = sorted((folder / PHOTOS).glob("*.jpg"))
    if not photos:
        raise SourceError(f"{folder}: no proposals of labels; pick from a run that kept its lessons (--output lessons)")
    names = [(photo, *photo.stem.split("-", 1)) for photo in photos]
    return [Drawn(int(frame), who, photo, folder / LABELS / f"{photo.stem}.png") for photo, frame, who in names]


def label_judged(drawn: Iterable[Drawn], verdicts: Mapping[Path, Verdict], labels: Path) -> Judged:
    """Write the label PNG of each frame of which a proposal was judged right: the newest, where several were.

    Args:
        verdicts: by picture; pictures that nobody has judged are not in it.

    Raises:
        UsageError: nothing was judged right, or `labels` holds labels already.
    """
    if any(labels.glob("*.png")):
        raise UsageError(f"{labels}: holds labels already; choose another --labels")
    by_frame: dict[int, list[Drawn]] = {}
    for one in drawn:
        by_frame.setdefault(one.frame, []).append(one)
    right = {frame: [one for one in own if _is_right(one, verdicts)] for frame, own in by_frame.items()}
    if not any(right.values()):
        raise UsageError(f"none of {sum(map(len, by_frame.values()))} proposals was judged right")
    classes = read_classes(next(iter(by_frame.values()))[0].labels.parent / CLASSES_FILE)
    for frame, own in right.items():
        if own:
            newest = max(own, key=lambda one: verdicts[one.photo].place)
            write_label_png(labels / f"{frame:08}.png", read_label_png(newest.labels))
    write_text(labels / CLASSES_FILE, "\n".join(classes) + "\n")
    without = [frame for frame, own in right.items() if not own]
    return Judged(
        photos=len(verdicts),
        right=sum(map(len, right.values())),
        frames=len(right) - len(without),
        several=sum(len(own) > 1 for own in right.values()),
        without=len(without),
        waiting=sum(any(one.photo not in verdicts for one in by_frame[frame]) for frame in without),
    )


def _is_right(one: Drawn, verdicts: Mapping[Path, Verdict]) -> bool:
    return one.photo in verdicts and verdicts[one.photo].is_right


def rated(drawn: Iterable[Drawn], frames: Path, teacher: Teacher, class_map: ClassMap) -> Iterator[tuple[Drawn, float]]:
    """Each proposal with its mean IoU against another teacher's labels of the frame, who judges in a person's place.

    Pixels of which the proposal says nothing are not counted.

    Raises:
        UsageError: the teacher's classes are not the proposals'.
    """
    selected, known = SelectedTeacher(teacher, class_map), (-1, np.zeros((0, 0), np.uint8))
    for one in drawn:
        classes = read_classes(one.labels.parent / CLASSES_FILE)
        if classes != selected.classes:
            raise UsageError(f"{one.labels.parent}: labels of {', '.join(classes)}, not {', '.join(selected.classes)}")
        if known[0] != one.frame:
            image_rgb = np.array(read_rgb(frames / f"{one.frame:08}.png"))
            known = one.frame, selected(image_rgb, frame_index=one.frame).labels
        truth = known[1]
        proposed = resize_labels(read_label_png(one.labels), (truth.shape[1], truth.shape[0]))
        yield one, frame_iou(proposed, np.where(proposed == IGNORE, np.uint8(IGNORE), truth), len(classes))
