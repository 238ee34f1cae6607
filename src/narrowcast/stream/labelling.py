"""Teacher labels of still images, made once and kept as PNGs beside a note of who made them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.core.files import write_bytes, write_json
from narrowcast.models.teacher import Teacher

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
NOTE = "teacher.json"


@dataclass(frozen=True, slots=True)
class LabellingReport:
    """One image labelled, found labelled, or unreadable (`error` says why)."""

    image: Path
    done: int
    total: int
    was_cached: bool
    error: str | None = None


def find_images(folders: list[Path]) -> list[tuple[Path, Path]]:
    """All images below `folders` as (folder, path relative to it), sorted.

    Raises:
        SourceError: a folder is missing, or there is no image at all.
        ConfigError: two folders have the same name, under which their labels would be mixed up.
    """
    names = [folder.name for folder in folders]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two folders of images are called '{twice[0]}'; rename one, since labels are kept by name")
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder of images")
        below = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        found += [(folder, path.relative_to(folder)) for path in below]
    if not found:
        raise SourceError(
            f"no image in {', '.join(map(str, folders))} (looked for {', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return found


def label_path(cache: Path, folder: Path, relative: Path) -> Path:
    """Where the labels of an image are kept: the cache mirrors the folders, each under its own name."""
    return cache / folder.name / relative.with_suffix(relative.suffix + ".png")


def label_images(
    images: list[tuple[Path, Path]], teacher: Teacher, *, teacher_name: str, cache: Path
) -> Iterator[LabellingReport]:
    """Label what is not labelled yet; a report an image. Stops and goes on at any point.

    Raises:
        ConfigError: `cache` holds another teacher's labels.
    """
    _sign(cache, teacher, teacher_name)
    for done, (folder, relative) in enumerate(images, start=1):
        image, kept = folder / relative, label_path(cache, folder, relative)
        was_cached, error = kept.exists(), None
        if not was_cached:
            pixels = cv2.imread(str(image), cv2.IMREAD_COLOR)
            if pixels is None:
                error = f"{image}: cannot be decoded"
            else:
                write_label_png(kept, teacher(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).labels)
        yield LabellingReport(image, done, len(images), was_cached, error)


def read_note(cache: Path) -> tuple[str, tuple[str, ...]]:
    """The name and the classes of the teacher that made the labels in `cache`."""
    try:
        note = json.loads((cache / NOTE).read_text(encoding="utf-8"))
        return note["teacher"], tuple(note["classes"])
    except (OSError, ValueError, KeyError):
        raise ConfigError(f"{cache}: not a folder of teacher labels ({NOTE} is missing or damaged)") from None


def write_label_png(path: Path, labels: UInt8[np.ndarray, "h w"]) -> None:
    """Write `labels` as a grey PNG whose values are the labels."""
    encoded, png = cv2.imencode(".png", labels)
    assert encoded
    write_bytes(path, png.tobytes())


def _sign(cache: Path, teacher: Teacher, teacher_name: str) -> None:
    if (cache / NOTE).exists():
        name, classes = read_note(cache)
        if (name, classes) != (teacher_name, tuple(teacher.classes)):
            raise ConfigError(f"{cache}: holds labels of '{name}', not of '{teacher_name}'; choose another folder")
        return
    write_json(cache / NOTE, {"teacher": teacher_name, "classes": list(teacher.classes)})
