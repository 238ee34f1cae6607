"""Seeded streams of moving shapes with exact labels: small, real, and as hard as one asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from narrowcast.core.errors import UsageError
from narrowcast.core.frames import Frame
from narrowcast.video.palette import palette


def moving_shapes(
    *,
    num_frames: int,
    size_wh: tuple[int, int] = (160, 96),
    num_classes: int = 3,
    seed: int = 0,
    fps: Fraction = Fraction(25),
    cut_every: int | None = None,
) -> Iterator[tuple[Frame, UInt8[np.ndarray, "h w"]]]:
    """Frames of coloured shapes that drift over a textured ground and bounce, each with its exact labels.

    Args:
        num_classes: background (0) counted; class k is a polygon of its own number of corners and its own hue.
        seed: the same seed gives the same stream, bit for bit, on the same versions of NumPy and OpenCV.
        cut_every: after this many frames another scene begins: other ground, shapes, shades and ways; None for never.

    Raises:
        UsageError: a number out of range.
    """
    if (
        num_frames < 0
        or min(size_wh) < 8
        or not 1 <= num_classes <= 32
        or fps <= 0
        or (cut_every is not None and cut_every < 1)
    ):
        raise UsageError("moving_shapes: needs num_frames >= 0, sides >= 8, 1 to 32 classes, fps > 0, cut_every >= 1")
    rng = np.random.default_rng(seed)
    scene = None
    for index in range(num_frames):
        if scene is None or (cut_every is not None and index % cut_every == 0):
            scene = _Scene.drawn(rng, size_wh=size_wh, num_classes=num_classes)
        image_rgb, labels = scene.at(index, rng)
        yield Frame(index=index, time_s=index / fps, image_rgb=image_rgb), labels


@dataclass(frozen=True, slots=True)
class _Shape:
    label: int
    color: tuple[int, int, int]
    corners: Float64[np.ndarray, "corners 2"]  # around the centre, pixels
    start: Float64[np.ndarray, " 2"]
    velocity: Float64[np.ndarray, " 2"]  # pixels a frame
    spin: float  # radians a frame

    def outline(self, index: int, size_wh: tuple[int, int]) -> np.ndarray:
        """Corners in the frame `index`, rounded to pixels: image and labels are filled from the same ones."""
        box = np.array(size_wh, float)
        centre = box - np.abs((self.start + index * self.velocity) % (2 * box) - box)  # a triangle wave: it bounces
        cos, sin = np.cos(index * self.spin), np.sin(index * self.spin)
        return np.rint(self.corners @ np.array([[cos, sin], [-sin, cos]]) + centre).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Scene:
    ground_rgb: UInt8[np.ndarray, "h w 3"]
    shapes: tuple[_Shape, ...]

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, size_wh: tuple[int, int], num_classes: int) -> "_Scene":
        coarse = rng.integers(40, 140, (5, 8, 3), dtype=np.uint8)
        ground_rgb = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_LINEAR)
        labels = [label for label in range(1, num_classes) for _ in range(int(rng.integers(1, 3)))]
        return cls(ground_rgb, tuple(_shape(rng, label, size_wh) for label in labels))

    def at(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        image_rgb = self.ground_rgb.copy()
        height, width, _ = image_rgb.shape
        labels = np.zeros((height, width), np.uint8)
        for shape in self.shapes:
            outline = shape.outline(index, (width, height))
            cv2.fillPoly(image_rgb, [outline], shape.color)
            cv2.fillPoly(labels, [outline], shape.label)
        noise = rng.integers(0, 12, image_rgb.shape, dtype=np.uint8)
        return cv2.add(image_rgb, noise), labels


def _shape(rng: np.random.Generator, label: int, size_wh: tuple[int, int]) -> _Shape:
    radius = min(size_wh) * rng.uniform(0.12, 0.25)
    angles = np.linspace(0, 2 * np.pi, 2 + label, endpoint=False) + rng.uniform(0, np.pi)
    if label == 1:  # two corners make no area: class 1 is round
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    shade = palette(label + 1)[label] * rng.uniform(0.8, 1.0)
    heading = rng.uniform(0, 2 * np.pi)
    return _Shape(
        label=label,
        color=(int(shade[0]), int(shade[1]), int(shade[2])),
        corners=radius * np.column_stack([np.cos(angles), np.sin(angles)]),
        start=rng.uniform(0, 1, 2) * size_wh,
        velocity=min(size_wh) * rng.uniform(0.01, 0.03) * np.array([np.cos(heading), np.sin(heading)]),
        spin=rng.uniform(-0.1, 0.1),
    )
