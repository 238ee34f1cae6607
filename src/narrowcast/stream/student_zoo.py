"""Students of earlier streams: one that knew a place like this begins where it ended, instead of starting over.

A folder with a folder for each student: `student.safetensors`, and `entry.json` with its classes, keys (place, time,
person: the axes of section 6.1) and the signature of what it saw: the mean of a backbone's normalised features.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.files import write_bytes, write_json
from narrowcast.models.backbones import Backbone
from narrowcast.models.teacher import Teacher, TeacherLabels

log = logging.getLogger(__name__)
ENTRY, STUDENT = "entry.json", "student.safetensors"
LEAST_ALIKE = (
    0.7  # cosine; ours: one's own place from 0.64 up, others below 0.68 but for another drive through one town
)
FRAMES = 8  # of a signature; ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One student: what it was for, and what it saw.

    Attributes:
        backbone: key of the backbone that made the signature.
        accuracy: its mean IoU at the end; None: not known.
    """

    name: str
    classes: tuple[str, ...]
    place: str = ""
    time: str = ""
    person: str = ""
    backbone: str
    signature: tuple[float, ...]
    accuracy: float | None = None

    def fits(self, classes: Sequence[str], keys: Mapping[str, str]) -> bool:
        """Whether it has these classes, and no key says that it is of something else."""
        own = {"place": self.place, "time": self.time, "person": self.person}
        return self.classes == tuple(classes) and all(own[name] in ("", value) for name, value in keys.items())


@dataclass(frozen=True, slots=True)
class Recalled:
    """A student of the zoo, and how alike what it saw is to what is seen now (cosine)."""

    entry: Entry
    path: Path
    alike: float


@final
class StudentZoo:
    """The zoo in `folder`; `load` loads the backbone when it is needed first."""

    def __init__(self, folder: Path, load: Callable[[], Backbone]) -> None:
        self.folder, self._load = folder, load

    @cached_property
    def backbone(self) -> Backbone:
        """What sees the frames."""
        return self._load()

    def check(self, *, option: str) -> None:
        """Raises UsageError where the folder is something else than a zoo, or than the beginning of one."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{option} {self.folder}: is a file; name a folder of students, or a new one")
        if self.folder.is_dir() and any(self.folder.iterdir()) and not any(self.folder.glob(f"*/{ENTRY}")):
            raise UsageError(
                f"{option} {self.folder}: is no zoo of students (nothing in it has {ENTRY}); name one, or a new folder"
            )

    def entries(self) -> list[tuple[Entry, Path]]:
        """All students with their files; a damaged entry is left out, with a warning."""
        found = []
        for path in sorted(self.folder.glob(f"*/{ENTRY}")):
            try:
                entry = from_dict(Entry, json.loads(path.read_text(encoding="utf-8")), where=str(path))
            except (OSError, ValueError, ConfigError) as error:
                log.warning("%s is left out: %s", path, error)
                continue
            found.append((entry, path.with_name(STUDENT)))
        return found

    def signature(self, images_rgb: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, " dim"]:
        """The mean direction of the images' features."""
        rows = self.backbone([self.backbone.prepare(image) for image in images_rgb])
        return unit((rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)).mean(0))

    def recall(
        self,
        signature: Float32[np.ndarray, " dim"],
        classes: Sequence[str],
        keys: Mapping[str, str],
        *,
        least_alike: float = LEAST_ALIKE,
    ) -> Recalled | None:
        """The student that saw what is most alike among those that fit; None where none is alike enough."""
        best = next(iter(self.ranked(signature, classes, keys)), None)
        return best if best is not None and best.alike >= least_alike else None

    def ranked(
        self, signature: Float32[np.ndarray, " dim"], classes: Sequence[str], keys: Mapping[str, str]
    ) -> list[Recalled]:
        """The students that fit, the one that saw what is most alike first."""
        found = [
            Recalled(entry, path, float(np.dot(signature, np.array(entry.signature, np.float32))))
            for entry, path in self.entries()
            if entry.fits(classes, keys) and entry.backbone == self.backbone.key
        ]
        return sorted(found, key=lambda one: (one.alike, one.entry.name), reverse=True)

    def add(
        self,
        name: str,
        student: Path,
        signature: Float32[np.ndarray, " dim"],
        classes: Sequence[str],
        keys: Mapping[str, str],
        *,
        accuracy: float | None,
    ) -> None:
        """Keep the student in a file; one of the same name is replaced.

        Raises:
            StorageError: the zoo cannot be written.
        """
        write_bytes(self.folder / name / STUDENT, student.read_bytes())
        self.note(name, signature, classes, keys, accuracy=accuracy)

    def note(
        self,
        name: str,
        signature: Float32[np.ndarray, " dim"],
        classes: Sequence[str],
        keys: Mapping[str, str],
        *,
        accuracy: float | None,
    ) -> None:
        """Say what the student in the folder of that name is for, and what it saw.

        Raises:
            StorageError: the zoo cannot be written.
        """
        entry = Entry(
            name=name,
            classes=tuple(classes),
            backbone=self.backbone.key,
            signature=tuple(round(float(value), 6) for value in signature),
            accuracy=accuracy,
            **keys,
        )
        write_json(self.folder / name / ENTRY, asdict(entry))


def unit(vector: Float32[np.ndarray, " dim"]) -> Float32[np.ndarray, " dim"]:
    """`vector` at length 1; zeros stay zeros."""
    length = float(np.linalg.norm(vector))
    return (vector / length if length else vector).astype(np.float32)


@final
class Noticing:
    """A teacher that remembers some of the images that it was shown: 1st, 2nd, 4th, 8th … for a signature."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.classes = teacher, teacher.classes
        self.images: list[np.ndarray] = []
        self._num = 0

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        self._num += 1
        if self._num & (self._num - 1) == 0:
            self.images = [*self.images, image_rgb][-FRAMES:]
        return self.teacher(image_rgb, frame_index=frame_index)
