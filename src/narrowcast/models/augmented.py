"""Test-time augmentation: many views of an image, one vote a pixel, a better and costlier teacher."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import ConfigError
from narrowcast.models.teacher import IGNORE, Teacher, TeacherLabels

MAX_VIEWS = 255  # votes are counted in 8 bits


@dataclass(frozen=True, slots=True)
class View:
    """A part of the image (x0, y0, x1, y1), shown `scale` times smaller on a canvas of the part's size, or mirrored."""

    box_xyxy: tuple[int, int, int, int]
    scale: float
    is_flipped: bool


@final
class AugmentedTeacher:
    """`teacher` asked once for every view of the image; each pixel gets the class that most views give it.

    The views are the whole image at each of `scales` (at most 1: the image shrunk on a grey canvas, for teachers that
    were trained on objects smaller than these), and `tiles` (columns, rows) that overlap by the fraction `overlap`,
    for objects that are too small in the whole; all of it mirrored as well where `flip`. Ties go to the foreground:
    a small object is seen in a tile and missed in the whole. Pixels without a majority of at least `least_share` of
    their views become 255; where a view does not know (255), that is its vote. Instances' boxes are not kept.

    Raises:
        ConfigError: a scale, a share, an overlap or a number of tiles is out of its range.
    """

    def __init__(
        self,
        teacher: Teacher,
        *,
        flip: bool = True,
        scales: tuple[float, ...] = (1.0,),
        tiles: tuple[int, int] = (1, 1),
        overlap: float = 0.25,
        least_share: float = 0.0,
    ) -> None:
        if not scales or min(scales) <= 0 or max(scales) > 1:
            raise ConfigError(f"[augment] scales = {scales}: expected values in (0, 1]")
        if min(tiles) < 1 or not 0 <= overlap < 1:
            raise ConfigError(f"[augment] tiles = {tiles}, overlap = {overlap}: expected counts and a fraction below 1")
        if not 0 <= least_share <= 1:
            raise ConfigError(f"[augment] least_share = {least_share}: expected a value in [0, 1]")
        if (num := (1 + flip) * (len(scales) + (tiles[0] * tiles[1] if tiles != (1, 1) else 0))) > MAX_VIEWS:
            raise ConfigError(f"[augment]: {num} views of every image; expected at most {MAX_VIEWS}")
        self.teacher = teacher
        self.classes = teacher.classes
        self._flips = (False, True) if flip else (False,)
        self._scales, self._tiles, self._overlap, self._least_share = scales, tiles, overlap, least_share

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        votes = _Votes(image_rgb.shape[0], image_rgb.shape[1])
        for view in self.views(image_rgb.shape[1], image_rgb.shape[0]):
            shown = self.teacher(_show(image_rgb, view), frame_index=frame_index)
            votes.add(_restore(shown.labels, view), view.box_xyxy)
        return TeacherLabels(votes.winner(self._least_share))

    def views(self, width: int, height: int) -> Iterator[View]:
        """All views of an image of `width` × `height`."""
        boxes = [((0, 0, width, height), scale) for scale in self._scales]
        if self._tiles != (1, 1):
            boxes += [(box, 1.0) for box in _tile_boxes(width, height, self._tiles, self._overlap)]
        return (View(box, scale, flipped) for box, scale in boxes for flipped in self._flips)


def _tile_boxes(width: int, height: int, tiles: tuple[int, int], overlap: float) -> list[tuple[int, int, int, int]]:
    columns, rows = _spans(width, tiles[0], overlap), _spans(height, tiles[1], overlap)
    return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


def _spans(length: int, num: int, overlap: float) -> list[tuple[int, int]]:
    """`num` spans of equal size that cover 0 to `length`, each sharing the fraction `overlap` with the next."""
    size = length / (num - (num - 1) * overlap)
    starts = [min(length - 1, int(ix * size * (1 - overlap))) for ix in range(num)]
    return [(start, min(length, start + math.ceil(size))) for start in starts[:-1]] + [(starts[-1], length)]


def _show(image_rgb: UInt8[np.ndarray, "h w 3"], view: View) -> UInt8[np.ndarray, "h2 w2 3"]:
    x0, y0, x1, y1 = view.box_xyxy
    part = image_rgb[y0:y1, x0:x1]
    if view.is_flipped:
        part = part[:, ::-1]
    if view.scale == 1:
        return np.ascontiguousarray(part)
    canvas = np.full_like(part, 127)
    width, height = _shrunk(view)
    canvas[:height, :width] = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    return canvas


def _shrunk(view: View) -> tuple[int, int]:
    x0, y0, x1, y1 = view.box_xyxy
    return max(1, round((x1 - x0) * view.scale)), max(1, round((y1 - y0) * view.scale))


def _restore(labels: UInt8[np.ndarray, "h w"], view: View) -> UInt8[np.ndarray, "h w"]:
    if view.scale != 1:
        width, height = _shrunk(view)
        full_wh = (labels.shape[1], labels.shape[0])
        labels = cv2.resize(labels[:height, :width], full_wh, interpolation=cv2.INTER_NEAREST)
    return labels[:, ::-1] if view.is_flipped else labels


@final
class _Votes:
    """Votes per pixel, with a plane only for the classes that some view has seen."""

    def __init__(self, height: int, width: int) -> None:
        self._planes: dict[int, UInt8[np.ndarray, "h w"]] = {}
        self._shape = (height, width)
        self._cast = np.zeros(self._shape, np.uint8)

    def add(self, labels: UInt8[np.ndarray, "h w"], box_xyxy: tuple[int, int, int, int]) -> None:
        x0, y0, x1, y1 = box_xyxy
        self._cast[y0:y1, x0:x1] += 1
        for class_ix in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)):
            plane = self._planes.setdefault(int(class_ix), np.zeros(self._shape, np.uint8))
            plane[y0:y1, x0:x1] += labels == class_ix

    def winner(self, least_share: float) -> UInt8[np.ndarray, "h w"]:
        best = np.zeros(self._shape, np.uint8)
        labels = np.full(self._shape, IGNORE, np.uint8)
        # the background last, and strictly: ties go to the foreground
        for class_ix in sorted(self._planes, key=lambda ix: (ix == 0, ix)):
            wins = self._planes[class_ix] > best
            labels[wins], best[wins] = class_ix, self._planes[class_ix][wins]
        if least_share > 0:
            labels[best < least_share * self._cast] = IGNORE
        return labels
