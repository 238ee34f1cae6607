"""What was interesting in a stream (section 6.2): where adapting took effort, and where the teacher was disagreed with.

After figure 6.1: the effort of adapting peaks where something happens; and a student that knows the last minutes is
sometimes right where the general teacher is not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import IGNORE
from narrowcast.stream.lesson_pictures import LessonPicture
from narrowcast.stream.moved_labels import MovedLabels


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsConfig:
    """What counts as an event; all ours.

    Attributes:
        peaks: places of most effort to show.
        apart_s: least seconds from one peak to the next.
        min_area: least share of the frame for two to disagree about.
        agreement: least share of a disputed region on which the labels of the lesson before, and of the one after,
            side with the student.
        nearby: most that the one who sees nothing there may see of the same class around, as a share of the region:
            else it was seen, only not quite there.
        candidates: of these disagreements to export, those with the most pixels at stake first.
    """

    peaks: int = 12
    apart_s: float = 3.0
    min_area: float = 0.001
    agreement: float = 0.5
    nearby: float = 0.2
    candidates: int = 200

    def __post_init__(self) -> None:
        if self.peaks < 1 or self.candidates < 1:
            raise ConfigError(f"[events]: peaks = {self.peaks}, candidates = {self.candidates}: must be at least 1")
        if not (0 < self.min_area < 1 and 0 < self.agreement <= 1 and min(self.apart_s, self.nearby) >= 0):
            raise ConfigError("[events]: min_area and agreement are shares above 0, apart_s and nearby not negative")


@dataclass(frozen=True, slots=True)
class Effort:
    """What one lesson took.

    Attributes:
        accuracy: of the student before it.
    """

    frame: int
    time_s: float
    updates: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Dispute:
    """A region on which teacher and student disagree, and those around in time side with the student.

    Attributes:
        box_xyxy: around the region, in pixels of the student's size.
        area: share of the frame.
        student_class, teacher_class: what most of the region is to them.
        before, after: shares of the region on which the teacher's labels of the lesson before, and of the one after,
            moved here by flow, say what the student says.
    """

    frame: int
    box_xyxy: tuple[int, int, int, int]
    area: float
    student_class: int
    teacher_class: int
    before: float
    after: float
    region: Bool[np.ndarray, "h w"] = field(repr=False)


def efforts(reports: Iterable[Mapping[str, Any]]) -> Iterator[Effort]:
    """The lessons of a run, from its reports; a live run tells of them late."""
    times_s: dict[int, float] = {}
    for report in reports:
        times_s[report["frame"]] = report["time_s"]
        if report["accuracy"] is None:
            continue
        frame = report["frame"] if report.get("taught_frame") is None else report["taught_frame"]
        time_s = times_s[frame] if frame in times_s else report["time_s"]
        yield Effort(frame, time_s, report["updates"], report["accuracy"])
        times_s = {known: time_s for known, time_s in times_s.items() if known > frame}


def peaks_of(lessons: Sequence[Effort], config: EventsConfig) -> list[Effort]:
    """The lessons of most effort, in the order of time: most updates first, and of those the least accuracy before.

    Every one is at least `apart_s` from the others; a lesson without updates is none.
    """
    found: list[Effort] = []
    for lesson in sorted(lessons, key=lambda one: (-one.updates, one.accuracy, one.frame)):
        is_apart = all(abs(lesson.time_s - other.time_s) >= config.apart_s for other in found)
        if lesson.updates and is_apart and len(found) < config.peaks:
            found.append(lesson)
    return sorted(found, key=lambda one: one.frame)


def disputes(lessons: Iterable[LessonPicture], config: EventsConfig) -> Iterator[Dispute]:
    """Where the teacher is disagreed with: it said so of a frame, but neither before nor after, nor did the student."""
    previous: LessonPicture | None = None
    current: LessonPicture | None = None
    for following in lessons:
        if previous is not None and current is not None:
            yield from _disputed(previous, current, following, config)
        previous, current = current, following


def _disputed(
    previous: LessonPicture, current: LessonPicture, following: LessonPicture, config: EventsConfig
) -> Iterator[Dispute]:
    is_known = (current.teacher != IGNORE) & (current.student != IGNORE)
    differs = ((current.student != current.teacher) & is_known).astype(np.uint8)
    least = config.min_area * differs.size
    count, regions, stats, _ = cv2.connectedComponentsWithStats(differs, connectivity=8)
    large = [ix for ix in range(1, count) if stats[ix][cv2.CC_STAT_AREA] >= least]
    if not large or previous.image_rgb.shape != current.image_rgb.shape or (
        following.image_rgb.shape != current.image_rgb.shape
    ):  # fmt: skip
        return
    before, after = (moved(other.teacher, other.image_rgb, current.image_rgb) for other in (previous, following))
    for ix in large:
        region = regions == ix
        says = current.student[region]
        sides = [float((labels[region] == says).mean()) for labels in (before, after)]
        if min(sides) < config.agreement:
            continue
        left, top, width, height = (int(value) for value in stats[ix][:4])
        box_xyxy = (left, top, left + width, top + height)
        student_class, teacher_class = (
            int(np.bincount(who[region]).argmax()) for who in (current.student, current.teacher)
        )
        blind, seen = (current.teacher, student_class) if student_class else (current.student, teacher_class)
        if (around(blind, box_xyxy) == seen).sum() > config.nearby * region.sum():
            continue
        yield Dispute(
            current.frame,
            box_xyxy,
            area=float(region.mean()),
            student_class=student_class,
            teacher_class=teacher_class,
            before=sides[0],
            after=sides[1],
            region=region,
        )


def around(image: Any, box_xyxy: tuple[int, int, int, int]) -> Any:
    """The part of an image or of labels in a box and half a box's sides around it."""
    left, top, right, bottom = box_xyxy
    across, down = (right - left) // 2 + 8, (bottom - top) // 2 + 8
    return image[max(0, top - down) : bottom + down, max(0, left - across) : right + across]


def moved(
    labels: UInt8[np.ndarray, "h w"], from_rgb: UInt8[np.ndarray, "h w 3"], to_rgb: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w"]:
    """`labels` of one picture as they lie in another, by optical flow between the two."""
    follower = MovedLabels((labels.shape[1], labels.shape[0]))
    follower.follow(from_rgb)
    follower.restart(labels)
    found = follower.follow(to_rgb)
    assert found is not None
    return found
