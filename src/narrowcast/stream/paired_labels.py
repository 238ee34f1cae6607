"""Labels by people beside a stream's images: one PNG a frame, found by the image's name."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import SourceError
from narrowcast.core.frames import IGNORE
from narrowcast.models.teacher import TeacherLabels
from narrowcast.video.images import list_folder, natural_key
from narrowcast.video.labels import read_label_png

Table = UInt8[np.ndarray, "256"]


@final
class PairedLabels:
    """Label PNGs of a list of frames, None where a frame has none; it then says "unknown" of all pixels.

    Args:
        paths: one a frame.
        classes: names, the background first.
        table: from a PNG's value to the label.
        are_objects: whether each class is one object, to be scored by J and F.
    """

    def __init__(
        self, paths: Sequence[Path | None], classes: Sequence[str], table: Table, *, are_objects: bool = False
    ) -> None:
        self.classes, self.are_objects = tuple(classes), are_objects
        self._paths, self._table = paths, table

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        height, width = image_rgb.shape[:2]
        path = None if frame_index is None or frame_index >= len(self._paths) else self._paths[frame_index]
        if path is None:
            return TeacherLabels(np.full((height, width), IGNORE, np.uint8))
        labels = self._table[read_label_png(path)]
        if labels.shape != (height, width):
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        known = labels[labels != IGNORE]
        if known.size and known.max() >= len(self.classes):
            raise SourceError(f"{path}: holds the label {known.max()}; there are {len(self.classes)} classes, from 0")
        return TeacherLabels(labels)


def same_values() -> Table:
    """The table of PNGs whose values are the labels."""
    return np.arange(256, dtype=np.uint8)


def table_of(first: int, num: int) -> Table:
    """The table of PNGs whose values 0 to `num` - 1 are the labels from `first` on; all others are unknown."""
    table = np.full(256, IGNORE, np.uint8)
    table[:num] = np.arange(first, first + num)
    return table


def pairs(images: Path, labels: Path, *, suffix: str = "", ending: str = "") -> list[Path | None]:
    """For each image of a folder, in the order of its frames, its label PNG.

    Args:
        suffix: that names of images have and those of labels lack.
        ending: that names of labels have instead.

    Raises:
        SourceError: none of the images has one.
    """
    ordered = sorted(list_folder(images), key=natural_key)
    paths = [label_of(path.stem.removesuffix(suffix) + ending, labels) for path in ordered]
    if not any(paths):
        raise SourceError(f"{labels}: no label PNG has the name of an image in {images}")
    return paths


def label_of(stem: str, labels: Path) -> Path | None:
    """The PNG of that name, where there is one."""
    path = labels / f"{stem}.png"
    return path if path.exists() else None


def one_of(*folders: Path) -> Path:
    """The first of `folders` that is there.

    Raises:
        SourceError: none is.
    """
    for folder in folders:
        if folder.is_dir():
            return folder
    raise SourceError(f"{folders[-1]}: no such folder; see docs/evaluate.md for the layouts of data sets")
