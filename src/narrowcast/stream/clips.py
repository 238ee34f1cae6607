"""The streams of an evaluation: where the frames come from, and the truth where a data set has one."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import UsageError
from narrowcast.core.frames import Frame
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.video.container import without_password
from narrowcast.video.source import FrameSource, open_source

SIDE_MULTIPLE = 8  # pixels; ours: sizes that are computed from a longest side


@dataclass(frozen=True, slots=True)
class Clip:
    """One stream to evaluate on.

    Attributes:
        name: that results carry; unique within an evaluation.
        spec: as `open_source` takes it.
        fps: of images, which have no times of their own; None for videos, and for 25.
        classes: what this stream is about, where its data set says so; None: as the evaluation says.
        truth: labels by people, where there are any; its `classes` are the data set's.
    """

    name: str
    spec: str
    fps: Fraction | None = None
    classes: str | None = None
    truth: Teacher | None = None

    @contextmanager
    def open(self, *, phase: int = 0, max_frames: int | None = None) -> "Iterator[Frames]":
        """The frames from `phase` on, counted from 0, up to frame `max_frames` of the source."""
        rest = None if max_frames is None else max(0, max_frames - phase)
        with open_source(self.spec, start_index=phase, max_frames=rest, fps=self.fps) as source:
            yield Frames(source, phase, name=self.name)

    def fingerprint(self) -> str:
        """A string that changes when the stream's file or files do."""
        path = Path(self.spec)
        if path.is_file():
            with path.open("rb") as file:
                return f"{path.stat().st_size}-{hashlib.sha256(file.read(1 << 20)).hexdigest()[:16]}"
        if path.is_dir():
            names = "\n".join(sorted(entry.name for entry in path.iterdir()))
            return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return without_password(self.spec)


@final
class Frames:
    """A source begun at frame `phase`, whose frames are counted from 0 all the same; `name` is the clip's."""

    def __init__(self, source: FrameSource, phase: int, *, name: str = "") -> None:
        self.name = name
        self.fps, self.size_wh = source.fps, source.size_wh
        self.num_frames = None if source.num_frames is None else max(0, source.num_frames - phase)
        self._source, self._phase = source, phase

    @property
    def truncated(self) -> str | None:
        """As of `FrameSource`."""
        return self._source.truncated

    @property
    def damaged(self) -> int:
        """As of `FrameSource`."""
        return self._source.damaged

    def stop(self) -> None:
        """As of `FrameSource`."""
        self._source.stop()

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            yield replace(frame, index=frame.index - self._phase) if self._phase else frame


@final
class ShiftedTeacher:
    """A teacher for frames that are counted from `phase` on: it hears the source's own numbers."""

    def __init__(self, teacher: Teacher, phase: int) -> None:
        self.teacher, self.classes, self._phase = teacher, teacher.classes, phase

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        return self.teacher(image_rgb, frame_index=None if frame_index is None else frame_index + self._phase)


def plain_clips(specs: Sequence[str]) -> list[Clip]:
    """A clip for each source, named by its file; where two would have one name, their folders' names are put before.

    Raises:
        UsageError: a source is given twice.
    """
    if twice := [spec for ix, spec in enumerate(specs) if spec in specs[:ix]]:
        raise UsageError(f"{twice[0]}: is given twice; once is enough")
    short = [_name(spec) for spec in specs]
    pairs = list(zip(short, specs, strict=True))
    names = [name if short.count(name) == 1 else _name(spec, with_folder=True) for name, spec in pairs]
    if twice := [name for ix, name in enumerate(names) if name in names[:ix]]:
        raise UsageError(f"two sources would both be called '{twice[0]}'; rename one")
    return [Clip(name, spec) for name, spec in zip(names, specs, strict=True)]


def _name(spec: str, *, with_folder: bool = False) -> str:
    path = Path(without_password(spec).rstrip("/"))
    stem = path.name if path.is_dir() else path.stem
    name = f"{path.parent.name}-{stem}" if with_folder else stem
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "stream"


def working_size(frame_wh: tuple[int, int], size: tuple[int, int] | int | None) -> tuple[int, int]:
    """The student's size on frames of `frame_wh`: itself, given, or from its longest side.

    >>> working_size((768, 576), 384), working_size((1280, 720), 640), working_size((320, 180), 640)
    ((384, 288), (640, 360), (320, 180))
    """
    if size is None:
        return frame_wh
    if isinstance(size, tuple):
        return size
    factor = min(1.0, size / max(frame_wh))
    if factor == 1.0:
        return frame_wh
    width, height = (max(SIDE_MULTIPLE, round(side * factor / SIDE_MULTIPLE) * SIDE_MULTIPLE) for side in frame_wh)
    return width, height
