"""Training samples for segmenters out of still images and their labels: warped, composed, deterministic by number.

Stills show one large object each; video shows small ones in a wide scene. So a sample is a warped base image with up to
three objects of other images pasted over it at sizes down to a twentieth of the canvas (copy-paste, Ghiasi 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8
from torch.utils.data import Dataset

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.core.frames import IGNORE
from narrowcast.data.tags import Tags

MIN_OBJECT_PX = 200  # a smaller patch of a class does not make an image one of that class


@dataclass(frozen=True, slots=True)
class Still:
    """One image, its labels, the correction of their values, and the classes that are then in it."""

    image: Path
    labels: Path
    table: UInt8[np.ndarray, "256"]
    present: tuple[int, ...]
    has_background: bool  # cut-outs have none: they can only be pasted

    def read(self) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """RGB pixels and corrected labels."""
        pixels = cv2.imread(str(self.image), cv2.IMREAD_COLOR)
        labels = _read_labels(self.labels)
        if pixels is None or labels is None:
            raise SourceError(f"{self.image}: the image or its labels cannot be decoded any more")
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), self.table[labels]


def _read_labels(path: Path) -> UInt8[np.ndarray, "h w"] | None:
    labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.exists() else None
    return None if labels is None else labels.astype(np.uint8, copy=False)


def scan(pairs: Sequence[tuple[str, Path, Path]], tags: Tags) -> list[Still]:
    """The stills among (name, image, labels) that have labels, with the classes in each."""
    stills = []
    for name, image, label_file in pairs:
        labels = _read_labels(label_file)
        if labels is None:
            continue
        table = tags.table(name)
        counts = np.bincount(table[labels].ravel(), minlength=256)
        present = tuple(int(ix) for ix in np.flatnonzero(counts[:IGNORE] >= MIN_OBJECT_PX) if ix)
        stills.append(Still(image, label_file, table, present, bool(counts[0] > 0)))
    return stills


def split(stills: Sequence[Still], *, held_out: float, seed: int) -> tuple[list[Still], list[Still]]:
    """(train, held out): a random share of the photos that have a background is held out."""
    chance = np.random.default_rng(seed).random(len(stills))
    held = [still for still, draw in zip(stills, chance, strict=True) if draw < held_out and still.has_background]
    taken = {id(still) for still in held}
    return [still for still in stills if id(still) not in taken], held


@dataclass(frozen=True, kw_only=True, slots=True)
class ComposeConfig:
    """How samples are composed; all ours."""

    size: int = 384  # pixels, square
    max_pasted: int = 3
    min_height: float = 0.06  # of the canvas, of a pasted object
    max_height: float = 0.8
    min_zoom: float = 0.45  # of the size at which the base image covers the canvas
    max_zoom: float = 1.8
    empty_share: float = 0.15  # of base images, without any object

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise ConfigError(f"[compose] size = {self.size}: expected a multiple of 32")
        if not 0 < self.min_height <= self.max_height or not 0 < self.min_zoom <= self.max_zoom:
            raise ConfigError("[compose] heights and zooms must be positive and in order")
        if self.max_pasted < 0 or not 0 <= self.empty_share <= 1:
            raise ConfigError("[compose] max_pasted must not be negative, empty_share must be in [0, 1]")


class ComposedStills(Dataset[tuple[UInt8[np.ndarray, "3 s s"], UInt8[np.ndarray, "s s"]]]):
    """Sample number `i` depends on the seed and `i` alone, so that a resumed training sees what it would have seen.

    An image is drawn with a chance of 1/√(images that show its class): rare classes often, none always.
    """

    def __init__(self, stills: Sequence[Still], config: ComposeConfig, *, num_samples: int, seed: int) -> None:
        if not any(still.has_background for still in stills):
            raise SourceError("no image with a background among the stills")
        self.stills, self.config, self.num_samples, self.seed = list(stills), config, num_samples, seed
        self._empty = [ix for ix, still in enumerate(stills) if still.has_background and not still.present]
        self._bases = _by_class(stills, lambda still: still.has_background)
        self._pasted = _by_class(stills, lambda still: True)

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, number: int) -> tuple[UInt8[np.ndarray, "3 s s"], UInt8[np.ndarray, "s s"]]:
        rng = np.random.default_rng((self.seed, number))
        image, labels = self._base(rng)
        for _ in range(int(rng.integers(0, self.config.max_pasted + 1))):
            if self._pasted:
                self._paste(image, labels, rng)
        return np.ascontiguousarray(image.transpose(2, 0, 1)), labels

    def _base(self, rng: np.random.Generator) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
        if not self._bases or (self._empty and rng.random() < self.config.empty_share):
            still = self.stills[int(rng.choice(self._empty))]
        else:
            still = self.stills[_draw(self._bases, rng)]
        image, labels = still.read()
        size = self.config.size
        zoom = np.exp(rng.uniform(np.log(self.config.min_zoom), np.log(self.config.max_zoom)))
        scale = zoom * size / min(labels.shape)
        matrix = _affine(labels.shape, size, scale=scale, rng=rng)
        return (
            _warped(image, matrix, (size, size), border=cv2.BORDER_REFLECT_101),
            cv2.warpAffine(labels, matrix, (size, size), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101),
        )

    def _paste(
        self, image: UInt8[np.ndarray, "s s 3"], labels: UInt8[np.ndarray, "s s"], rng: np.random.Generator
    ) -> None:
        """Put the objects of one still over the canvas, in place."""
        size, config = self.config.size, self.config
        source, source_labels = self.stills[_draw(self._pasted, rng)].read()
        rows, columns = np.nonzero((source_labels > 0) & (source_labels != IGNORE))
        if len(rows) < MIN_OBJECT_PX:
            return
        crop = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        source, source_labels = source[crop], source_labels[crop]
        height = size * np.exp(rng.uniform(np.log(config.min_height), np.log(config.max_height)))
        matrix = _affine(source_labels.shape, size, scale=height / source_labels.shape[0], rng=rng, spread=1.0)
        window = _footprint(matrix, source_labels.shape, size)
        image, labels = image[window], labels[window]  # views: only where the object lands is there anything to do
        if not labels.size:
            return
        matrix[:, 2] -= window[1].start, window[0].start
        target_wh = (labels.shape[1], labels.shape[0])
        source = _warped(source, matrix, target_wh, border=cv2.BORDER_REPLICATE)
        moved = cv2.warpAffine(source_labels, matrix, target_wh, flags=cv2.INTER_NEAREST, borderValue=(0,))
        shown = (moved > 0) & (moved != IGNORE)
        soft = cv2.GaussianBlur(shown.astype(np.float32), (0, 0), 0.7)[..., None]
        image[:] = (source * soft + image * (1 - soft)).astype(np.uint8)
        labels[shown] = moved[shown]


def _by_class(stills: Sequence[Still], fits) -> list[tuple[float, list[int]]]:
    """For each class that occurs (1/√number of images, those images); the weights sum to 1."""
    lists: dict[int, list[int]] = {}
    for ix, still in enumerate(stills):
        if fits(still):
            for class_ix in still.present:
                lists.setdefault(class_ix, []).append(ix)
    total = sum(len(members) ** 0.5 for members in lists.values())
    return [(len(members) ** 0.5 / total, members) for members in lists.values()]


def _draw(by_class: list[tuple[float, list[int]]], rng: np.random.Generator) -> int:
    chances: Float64[np.ndarray, " c"] = np.array([weight for weight, _ in by_class])
    _, members = by_class[int(rng.choice(len(by_class), p=chances / chances.sum()))]
    return members[int(rng.integers(len(members)))]


def _affine(
    shape_hw: Sequence[int], size: int, *, scale: float, rng: np.random.Generator, spread: float = 0.5
) -> Float64[np.ndarray, "2 3"]:
    """Image to canvas: mirrored half of the time, turned by up to 12°, stretched by up to a quarter, anywhere."""
    turn = np.deg2rad(rng.normal() * 6).clip(-0.2, 0.2)
    stretch = np.exp(rng.uniform(-0.22, 0.22) / 2)
    flip = -1 if rng.random() < 0.5 else 1
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear @ np.diag([flip * stretch, 1 / stretch]) * scale
    target = size / 2 + rng.uniform(-spread, spread, 2) * size / 2
    centre = np.array([shape_hw[1] / 2, shape_hw[0] / 2])
    return np.column_stack([linear, target - linear @ centre])


def _footprint(matrix: Float64[np.ndarray, "2 3"], shape_hw: Sequence[int], size: int) -> tuple[slice, slice]:
    """The rows and columns of the canvas that an image lands on; empty where it lands outside."""
    height, width = shape_hw[:2]
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], float)
    low = np.floor(corners.min(1)).clip(0, size).astype(int)
    high = np.ceil(corners.max(1) + 1).clip(0, size).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _warped(
    image: UInt8[np.ndarray, "h w 3"], matrix: Float64[np.ndarray, "2 3"], target_wh: tuple[int, int], *, border: int
) -> UInt8[np.ndarray, "H W 3"]:
    """`image` warped; blurred first where it shrinks, since warpAffine samples points and would alias."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / scale)
    return cv2.warpAffine(image, matrix, target_wh, flags=cv2.INTER_LINEAR, borderMode=border)
