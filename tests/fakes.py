"""Small real objects for tests of streams: a student of two layers, teachers who know the answer, sources in memory."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrowcast.core.frames import Frame
from narrowcast.models.teacher import TeacherLabels
from narrowcast.video.reader import Picture
from narrowcast.video.source import FrameSource
from narrowcast.video.synth import moving_shapes

SIZE_WH = (64, 48)
CLASSES = ("background", "round", "square")
FPS = Fraction(25)


class TinyStudent(nn.Module):
    """Half-size logits from two convolutions and a batch norm: learns colours, and quickly."""

    def __init__(self, num_classes: int = 3, *, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, num_classes, 1)

    def coarse_logits(self, images: Tensor) -> Tensor:
        return self.last(F.relu(self.norm(self.first(images))))

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(self.coarse_logits(images), images.shape[-2:], mode="bilinear", align_corners=True)


class LookupTeacher:
    """Answers with the labels that it was given for each frame, and remembers what it was asked."""

    def __init__(self, labels: Sequence[np.ndarray], classes: tuple[str, ...] = CLASSES) -> None:
        self.labels, self.classes = labels, classes
        self.asked: list[int] = []

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        assert frame_index is not None
        self.asked.append(frame_index)
        assert self.labels[frame_index].shape == image_rgb.shape[:2]
        return TeacherLabels(self.labels[frame_index])


class MemoryReader:
    """Images in memory as a source that can be opened at any frame."""

    name, is_live, truncated, damaged = "memory", False, None, 0

    def __init__(self, images: Sequence[np.ndarray], *, fps: Fraction = FPS) -> None:
        self.images, self.fps, self.num_frames = images, fps, len(images)
        self.size_wh = (images[0].shape[1], images[0].shape[0])

    def pictures(self) -> Iterator[Picture]:
        for ix, image_rgb in enumerate(self.images):
            yield Picture(ix / self.fps, lambda image_rgb=image_rgb: image_rgb)

    def stop(self) -> None: ...

    def close(self) -> None: ...


def source_of(images: Sequence[np.ndarray], *, start_index: int = 0, fps: Fraction = FPS) -> FrameSource:
    return FrameSource(MemoryReader(images, fps=fps), start_index=start_index)


def shapes(
    num_frames: int, *, seed: int = 0, size_wh: tuple[int, int] = SIZE_WH, **how: Any
) -> tuple[list[Frame], list[np.ndarray]]:
    """Frames of moving shapes and their exact labels; classes are `CLASSES`."""
    pairs = list(moving_shapes(num_frames=num_frames, seed=seed, size_wh=size_wh, num_classes=len(CLASSES), **how))
    return [frame for frame, _ in pairs], [labels for _, labels in pairs]


def plain_frames(num_frames: int, *, size_wh: tuple[int, int] = SIZE_WH) -> list[Frame]:
    """Grey frames with a little noise that differs from frame to frame."""
    rng = np.random.default_rng(0)
    return [
        Frame(ix, ix / FPS, rng.integers(100, 120, (size_wh[1], size_wh[0], 3), dtype=np.uint8))
        for ix in range(num_frames)
    ]


def flat_labels(fill: int = 0, *, size_wh: tuple[int, int] = SIZE_WH, **blocks: tuple[slice, slice, int]) -> np.ndarray:
    """Labels of one value, with blocks (rows, columns, value) on them."""
    labels = np.full((size_wh[1], size_wh[0]), fill, np.uint8)
    for rows, columns, value in blocks.values():
        labels[rows, columns] = value
    return labels


def same_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
