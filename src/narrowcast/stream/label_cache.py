"""A teacher's labels of every frame of a stream, made once and kept: what all methods are scored against.

A folder holds the label PNGs of one teacher on one stream, named by frame, `classes.txt`, and `teacher.json`, which
says of what they are. It is a folder of masks that `--teacher` and `--score-with` can read as well.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrowcast.core.errors import ConfigError
from narrowcast.core.files import write_json, write_text
from narrowcast.models.mask_folder import CLASSES_FILE
from narrowcast.models.teacher import Teacher
from narrowcast.stream.clips import Clip
from narrowcast.video.labels import read_label_png, write_label_png

NOTE = "teacher.json"
MAX_DIFFERENT = 0.001  # of a frame's pixels, which may differ between processors; ours


@dataclass(frozen=True, slots=True)
class CacheReport:
    """One frame labelled, or found labelled."""

    done: int
    total: int | None
    was_cached: bool


def cache_folder(cache: Path, teacher: str, clip: Clip) -> Path:
    """Where `teacher`'s labels of `clip` are kept: `cache`/teacher/stream, or `cache`/stream where labels lie already.

    Args:
        teacher: as a user names it; of a card, its content counts, not its path.
    """
    given = cache / clip.name
    return given if (given / CLASSES_FILE).exists() else cache / teacher_key(teacher) / clip.name


def teacher_key(teacher: str) -> str:
    """A folder's name for a teacher: readable, and another one when its card changes.

    >>> teacher_key("maskrcnn")
    'maskrcnn-774b3071'
    """
    path = Path(teacher)
    content = path.read_bytes() if teacher.endswith(".toml") and path.is_file() else teacher.encode()
    readable = re.sub(r"[^\w-]+", "-", path.stem)
    return f"{readable}-{hashlib.sha256(content).hexdigest()[:8]}"


def label_clip(clip: Clip, teacher: Teacher, folder: Path, *, max_frames: int | None) -> Iterator[CacheReport]:
    """Label the frames of `clip` that `folder` lacks; a report a frame. Stops and goes on at any point.

    Raises:
        ConfigError: the folder holds the labels of another teacher or of another video.
        NarrowcastError: what source, teacher or disk raise.
    """
    note = _sign(folder, clip, teacher)
    frames = note.get("frames")
    wanted = frames if max_frames is None else min(max_frames, frames or max_frames)
    if wanted is not None and all(_path(folder, index).exists() for index in range(wanted)):
        yield CacheReport(wanted, wanted, was_cached=True)
        return
    done = 0
    with clip.open(max_frames=max_frames) as source:
        for frame in source:
            path, done = _path(folder, frame.index), frame.index + 1
            was_cached = path.exists()
            if not was_cached:
                write_label_png(path, teacher(frame.image_rgb, frame_index=frame.index).labels)
            yield CacheReport(done, source.num_frames, was_cached)
    if max_frames is None or done < max_frames:
        _note_length(folder, done)


def check_labels(clip: Clip, teacher: Teacher, folder: Path, *, num_frames: int) -> None:
    """Compare one frame from the middle with what the teacher says of it now.

    Raises:
        ConfigError: they differ, so the labels are not this teacher's.
    """
    middle = num_frames // 2
    with clip.open(phase=middle, max_frames=middle + 1) as source:
        for frame in source:
            ours = teacher(frame.image_rgb, frame_index=middle).labels
            kept = read_label_png(_path(folder, middle))
            if ours.shape != kept.shape or np.mean(ours != kept) > MAX_DIFFERENT:
                raise ConfigError(
                    f"{folder}: the labels kept of {clip.name} are not this teacher's; use another --cache"
                )


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:08}.png"


def _sign(folder: Path, clip: Clip, teacher: Teacher) -> dict:
    """The folder's note, written where there is none; labels that came without one are left without."""
    path = folder / NOTE
    if path.exists():
        note = json.loads(path.read_text(encoding="utf-8"))
        if note.get("source") != clip.fingerprint():
            raise ConfigError(f"{folder}: holds labels of another video called {clip.name}; use another --cache")
        if tuple(note.get("classes", ())) != tuple(teacher.classes):
            raise ConfigError(f"{folder}: holds the labels of a teacher with other classes; use another --cache")
        return note
    if (folder / CLASSES_FILE).exists():
        return {}
    write_text(folder / CLASSES_FILE, "\n".join(teacher.classes) + "\n")
    note = {"classes": list(teacher.classes), "source": clip.fingerprint()}
    write_json(path, note)
    return note


def _note_length(folder: Path, frames: int) -> None:
    path = folder / NOTE
    if path.exists():
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"frames": frames})
