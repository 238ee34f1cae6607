"""A teacher whose answers were made before: a folder of label PNGs, one a frame."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import final

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.models.card import check_classes
from narrowcast.models.teacher import IGNORE, TeacherLabels

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"
MODES = ("1", "L", "P", "I;16")  # Pillow's names: two values, grey, palette, 16-bit grey


@final
class MaskFolderTeacher:
    """The masks in `folder`, as palette or grey PNGs whose values are indices into `classes` (255: unknown).

    Which mask belongs to which frame: see `masks_by_frame`. A mask of another size than its frame is resized with
    nearest neighbours.

    Args:
        classes: names, the background first; where none are given, the lines of `classes.txt` in the folder.

    Raises:
        SourceError: no folder, no PNG in it; when called: no mask for the frame, or one that cannot be read.
        ConfigError: the classes are missing or cannot be a teacher's.
    """

    def __init__(self, folder: Path, *, classes: Sequence[str] = ()) -> None:
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder of masks")
        self.folder = folder
        self.classes = tuple(classes) or read_classes(folder / CLASSES_FILE)
        check_classes(self.classes, where=str(folder))
        self._masks = masks_by_frame(folder)
        self._has_warned = False

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        if frame_index is None:
            raise SourceError(f"{self.folder}: masks belong to frames; which frame this image is was not said")
        if frame_index not in self._masks:
            raise SourceError(
                f"{self.folder}: no mask for frame {frame_index} (it has {len(self._masks)} masks, of frames"
                f" {min(self._masks)} to {max(self._masks)})"
            )
        labels = self._read(self._masks[frame_index])
        height, width = image_rgb.shape[:2]
        if labels.shape != (height, width):
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        return TeacherLabels(labels)

    def _read(self, path: Path) -> UInt8[np.ndarray, "h w"]:
        values = _pixels(path)
        strange = values[(values >= len(self.classes)) & (values != IGNORE)]
        if strange.size:
            raise SourceError(f"{path}: holds the value {strange[0]}; there are {len(self.classes)} classes, from 0")
        if not self._has_warned and values.any() and not ((values > 0) & (values < IGNORE)).any():
            log.warning("%s holds 0 and 255 only, and 255 means unknown: write 1 for the first class", path)
            self._has_warned = True
        return values.astype(np.uint8)


def read_classes(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line, the background first.

    Raises:
        ConfigError: there is no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"{path}: no such file; a folder of masks needs its class names there, one a line, background first"
        ) from None
    return tuple(line.strip() for line in lines if line.strip())


def masks_by_frame(folder: Path) -> dict[int, Path]:
    """For each frame index the PNG that labels it.

    Where all names are numbers, with or without a common beginning (`frame_0030.png`), each is the index of its frame,
    counted from 0, so that there may be gaps. Names that count 1, 2, 3 without a gap, and names that are not numbers,
    stand for frames 0, 1, 2 in their natural order (2 before 10).

    Raises:
        SourceError: there is no PNG, or two have the same number.
    """
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() == ".png"), key=_natural)
    if not paths:
        raise SourceError(f"{folder}: no PNG in this folder of masks")
    parts = [re.fullmatch(r"(.*?)(\d+)", path.stem) for path in paths]
    numbers = [int(part[2]) for part in parts if part]
    if len(numbers) < len(paths) or len({part[1] for part in parts if part}) > 1:
        return dict(enumerate(paths))
    if len(set(numbers)) < len(numbers):
        raise SourceError(f"{folder}: two masks have the same number")
    if numbers == list(range(1, len(numbers) + 1)):
        return dict(enumerate(paths))
    return dict(zip(numbers, paths, strict=True))


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts numbers within names by value."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", path.stem)]


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                raise SourceError(f"{path}: a {image.mode} image; masks are grey or palette PNGs of class indices")
            return np.asarray(image).astype(np.int32)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # Pillow's for damaged PNGs
        raise SourceError(f"{path}: cannot be read as a PNG ({error})") from error
