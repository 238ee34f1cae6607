"""What all methods on one stream share: its teacher, the teacher's labels of every frame, its classes and its size."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from narrowcast.core.errors import UsageError
from narrowcast.core.files import read_object, write_json
from narrowcast.models.classes import ClassMap, SelectedTeacher, parse_classes
from narrowcast.models.mask_folder import CLASSES_FILE, MaskFolderTeacher
from narrowcast.models.teacher import Teacher
from narrowcast.stream.clips import Clip, ShiftedTeacher, working_size
from narrowcast.stream.label_cache import NOTE, CacheReport, cache_folder, check_labels, label_clip

TEACHER_SAMPLES = 5  # calls to time a teacher that a method does not call itself; ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A stream, ready to be run by any method.

    Attributes:
        expert: the teacher itself, timed and paid for.
        labels: its labels of every frame.
        max_frames: of the source; None: all.
        num_frames: that there are, up to `max_frames`.
        charged_ms: what a teacher's call costs where methods get kept labels; None: they call the teacher.
    """

    clip: Clip
    expert: Teacher
    labels: Teacher
    class_map: ClassMap
    size_wh: tuple[int, int]
    device: torch.device
    max_frames: int | None
    num_frames: int
    charged_ms: float | None = None

    def teacher(self, phase: int) -> Teacher:
        """What a method that begins at frame `phase` asks."""
        asked = self.expert if self.charged_ms is None else self.labels
        return SelectedTeacher(ShiftedTeacher(asked, phase), self.class_map)

    def scorer(self, phase: int) -> Teacher:
        """What it is scored against."""
        return SelectedTeacher(ShiftedTeacher(self.labels, phase), self.class_map)


def label(
    clip: Clip, expert: Teacher, teacher: str, *, cache: Path, max_frames: int | None
) -> Iterator[CacheReport | Teacher]:
    """Make the labels of `clip` that `cache` lacks; what comes last reads all of them.

    Args:
        expert: the teacher called `teacher`. Labels on disk are taken as they are.
    """
    if isinstance(expert, MaskFolderTeacher) or expert is clip.truth:
        with clip.open(max_frames=max_frames) as source:
            num_frames = sum(1 for _ in source)
        yield CacheReport(num_frames, num_frames, was_cached=True)
        yield expert
        return
    folder = cache_folder(cache, teacher, clip)
    is_given = (folder / CLASSES_FILE).exists() and not (folder / NOTE).exists()
    num_frames = 0
    for report in label_clip(clip, expert, folder, max_frames=max_frames):
        num_frames = report.done
        yield report
    if is_given:
        check_labels(clip, expert, folder, num_frames=num_frames)
    yield MaskFolderTeacher(folder)


def make_bench(
    clip: Clip,
    expert: Teacher,
    labels: Teacher,
    *,
    classes: str,
    size: tuple[int, int] | int | None,
    max_frames: int | None,
    num_frames: int,
    device: torch.device,
    charged_ms: float | None = None,
) -> Bench:
    """The bench of `clip`, whose classes are its own or else `classes`."""
    with clip.open(max_frames=1) as source:
        size_wh = working_size(source.size_wh, size)
    return Bench(
        clip=clip,
        expert=expert,
        labels=labels,
        class_map=parse_classes(classes if expert is clip.truth else clip.classes or classes, expert.classes),
        size_wh=size_wh,
        device=device,
        max_frames=max_frames,
        num_frames=num_frames,
        charged_ms=charged_ms,
    )


def time_teacher(clip: Clip, expert: Teacher) -> float:
    """Median milliseconds of the teacher on a few frames, after one that is not counted."""
    times_ms = []
    with clip.open(max_frames=TEACHER_SAMPLES + 1) as source:
        for frame in source:
            started = time.perf_counter()
            expert(frame.image_rgb, frame_index=frame.index)
            times_ms.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times_ms[1:] or times_ms)


def charge_of(clip: Clip, expert: Teacher, kept: Path) -> float:
    """What is charged for a call where kept labels stand in: measured once for each stream, and kept in a file.

    Raises:
        UsageError: the teacher gives boxes, which kept labels do not have.
    """
    times_ms = read_object(kept) or {}
    if clip.name not in times_ms:
        with clip.open(max_frames=1) as source:
            for frame in source:
                if expert(frame.image_rgb, frame_index=frame.index).boxes_xyxy is not None:
                    raise UsageError("--replay-teacher: this teacher gives boxes, which kept labels lack; remove it")
        times_ms[clip.name] = time_teacher(clip, expert)
        write_json(kept, times_ms)
    return times_ms[clip.name]
