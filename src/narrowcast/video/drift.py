"""Seeded streams that drift, with exact labels: textured shapes before real photos, light that changes, cuts, scenes
that come back. What a student must keep learning, and what it may remember.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.core.frames import Frame

MARGIN = 1.25  # the ground is so much larger than the frame, for the camera to move over
NAMES = ("round", "triangle", "square", "pentagon", "hexagon", "heptagon", "octagon")


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftConfig:
    """What a stream is made of.

    Attributes:
        frames: how many.
        size_wh: of a frame, pixels.
        classes: kinds of shapes, the background not counted: round, triangle, square and so on. Textures are drawn
            without regard to the class, so that only the outline tells.
        objects: shapes of each class in a scene.
        scenes: places; each has a photo, a light and shapes of its own.
        cut_every: frames from cut to cut, about: between half and one and a half of it. 0: one scene without an end.
        returns: the chance that a cut leads to a place that was there before, where there is one.
        light: how far brightness drifts, as a factor: 0.5 is from half to one and a half.
        speed: of shapes, in sides of the frame a second; the camera moves at a tenth of it.
        fps: frames a second.
        seed: the same seed and photos give the same stream.
    """

    frames: int = 600
    size_wh: tuple[int, int] = (640, 360)
    classes: int = 2
    objects: int = 2
    scenes: int = 4
    cut_every: int = 120
    returns: float = 0.5
    light: float = 0.4
    speed: float = 0.25
    fps: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "frames": (1, 10**7),
            "classes": (1, len(NAMES)),
            "objects": (1, 20),
            "scenes": (1, 1000),
            "cut_every": (0, 10**7),
            "returns": (0, 1),
            "light": (0, 0.9),
            "speed": (0, 5),
            "fps": (1, 240),
            "seed": (0, 2**32 - 1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be from {low} to {high}")
        if not all(32 <= side <= 4096 for side in self.size_wh):
            raise ConfigError(f"size_wh = {self.size_wh}: sides must be from 32 to 4096 pixels")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The background first."""
        return ("background", *NAMES[: self.classes])


def drifting(config: DriftConfig, photos: Sequence[Path] = ()) -> Iterator[tuple[Frame, UInt8[np.ndarray, "h w"], int]]:
    """Frames with their exact labels and the number of the scene that they show.

    Args:
        config: what is drawn.
        photos: grounds and textures; without any, both are noise of many scales.

    Raises:
        SourceError: a photo cannot be read.
    """
    rng = np.random.default_rng(config.seed)
    scenes: dict[int, _Scene] = {}
    order = _scene_order(config, np.random.default_rng((config.seed, 1)))
    for index, number in enumerate(order):
        if number not in scenes:
            scenes[number] = _Scene.drawn(rng, config, photos)
        image_rgb, labels = scenes[number].at(index, config)
        yield Frame(index=index, time_s=Fraction(index, config.fps), image_rgb=image_rgb), labels, number


def _scene_order(config: DriftConfig, rng: np.random.Generator) -> Iterator[int]:
    """The scene of every frame; new ones are numbered in order."""
    current, seen = 0, 1
    left = _shot_length(config, rng)
    for _ in range(config.frames):
        if left == 0:
            others = [number for number in range(seen) if number != current]
            if others and (seen >= config.scenes or rng.uniform() < config.returns):
                current = int(rng.choice(others))
            elif seen < config.scenes:
                current, seen = seen, seen + 1
            left = _shot_length(config, rng)
        left -= 1
        yield current


def _shot_length(config: DriftConfig, rng: np.random.Generator) -> int:
    if not config.cut_every:
        return config.frames + 1
    return max(1, int(config.cut_every * rng.uniform(0.5, 1.5)))


@dataclass(frozen=True, slots=True)
class _Shape:
    label: int
    corners: Float64[np.ndarray, "corners 2"]  # around the centre, pixels
    start: Float64[np.ndarray, " 2"]
    velocity: Float64[np.ndarray, " 2"]  # pixels a frame
    spin: float  # radians a frame
    texture: UInt8[np.ndarray, "h w 3"]  # of the frame's size

    def outline(self, index: int, box: Float64[np.ndarray, " 2"]) -> np.ndarray:
        """Corners in frame `index`, whole pixels: image and labels are filled from the same ones."""
        centre = box - np.abs((self.start + index * self.velocity) % (2 * box) - box)  # a triangle wave: it bounces
        cos, sin = np.cos(index * self.spin), np.sin(index * self.spin)
        return np.rint(self.corners @ np.array([[cos, sin], [-sin, cos]]) + centre).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Scene:
    ground_rgb: UInt8[np.ndarray, "h2 w2 3"]
    shapes: tuple[_Shape, ...]
    phase: float
    tint: Float32[np.ndarray, " 3"]

    @classmethod
    def drawn(cls, rng: np.random.Generator, config: DriftConfig, photos: Sequence[Path]) -> "_Scene":
        width, height = (int(side * MARGIN) for side in config.size_wh)
        ground = _picture(rng, photos, (width, height))
        shapes = [
            _shape(rng, label, config, photos) for label in range(1, config.classes + 1) for _ in range(config.objects)
        ]
        order = rng.permutation(len(shapes))  # who is before whom
        tint = rng.uniform(0.85, 1.15, 3).astype(np.float32)
        return cls(ground, tuple(shapes[ix] for ix in order), float(rng.uniform(0, 2 * np.pi)), tint)

    def at(self, index: int, config: DriftConfig) -> tuple[np.ndarray, np.ndarray]:
        box = np.array(config.size_wh, float)
        image_rgb = self._ground_at(index, config)
        labels = np.zeros(image_rgb.shape[:2], np.uint8)
        for shape in self.shapes:
            inside = np.zeros_like(labels)
            cv2.fillPoly(inside, [shape.outline(index, box)], 1)
            labels[inside > 0] = shape.label
            image_rgb = np.where(inside[..., None] > 0, shape.texture, image_rgb)
        gain = 1 + config.light * np.sin(2 * np.pi * index / (20 * config.fps) + self.phase)
        noise = np.random.default_rng((config.seed, index)).normal(0, 4, image_rgb.shape)
        lit = image_rgb * (self.tint * np.float32(gain)) + noise.astype(np.float32)
        return np.clip(lit, 0, 255).astype(np.uint8), labels

    def _ground_at(self, index: int, config: DriftConfig) -> UInt8[np.ndarray, "h w 3"]:
        (width, height), (full_height, full_width) = config.size_wh, self.ground_rgb.shape[:2]
        sway = 2 * np.pi * index * config.speed / 10 / config.fps
        left = int((full_width - width) * (0.5 + 0.5 * np.sin(sway + self.phase)))
        top = int((full_height - height) * (0.5 + 0.5 * np.cos(0.7 * sway + self.phase)))
        return self.ground_rgb[top : top + height, left : left + width]


def _shape(rng: np.random.Generator, label: int, config: DriftConfig, photos: Sequence[Path]) -> _Shape:
    side = min(config.size_wh)
    corners = 24 if label == 1 else label + 1
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, np.pi)
    heading = rng.uniform(0, 2 * np.pi)
    pace = side * config.speed / config.fps * rng.uniform(0.5, 1.5)
    return _Shape(
        label=label,
        corners=side * rng.uniform(0.1, 0.22) * np.column_stack([np.cos(angles), np.sin(angles)]),
        start=rng.uniform(0, 1, 2) * np.array(config.size_wh),
        velocity=pace * np.array([np.cos(heading), np.sin(heading)]),
        spin=float(rng.uniform(-2, 2) / config.fps),
        texture=_picture(rng, photos, config.size_wh),
    )


def _picture(rng: np.random.Generator, photos: Sequence[Path], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    if not photos:
        return _clouds(rng, size_wh)
    path = photos[int(rng.integers(len(photos)))]
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise SourceError(f"{path}: the photo cannot be decoded")
    return cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), size_wh, interpolation=cv2.INTER_AREA)


def _clouds(rng: np.random.Generator, size_wh: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    total = np.full((size_wh[1], size_wh[0], 3), 128, np.float32)
    for cells, depth in ((4, 60), (16, 30), (64, 20)):
        coarse = rng.uniform(-depth, depth, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(coarse, size_wh, interpolation=cv2.INTER_LINEAR)
    return np.clip(total, 0, 255).astype(np.uint8)
