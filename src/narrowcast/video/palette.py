"""Colours that people tell apart, colour-blind people included."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

# Okabe and Ito, "Color Universal Design" (2008), without black, which is the background.
_OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009),
# severity 1.0, on linear RGB.
_PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
_DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))


def palette(num_classes: int) -> UInt8[np.ndarray, "classes 3"]:
    """RGB colours of classes 0 to `num_classes - 1`, the same in every palette; 0 is black, the background.

    >>> palette(3).tolist()
    [[0, 0, 0], [230, 159, 0], [86, 180, 233]]
    """
    assert 0 <= num_classes <= 256, num_classes
    return _all_colors()[:num_classes].copy()


@cache
def _all_colors() -> UInt8[np.ndarray, "256 3"]:
    """Black, Okabe and Ito's seven, then always the colour farthest from all before it to the worst of three eyes."""
    levels = np.arange(20, 256, 26, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = [(0, 0, 0), *_OKABE_ITO]
    seen = _as_seen(np.concatenate([np.array(chosen, np.uint8), grid]))
    distance = np.full(seen.shape[1], np.inf, np.float32)
    for position in range(256):
        if position >= len(chosen):
            farthest = int(distance[8:].argmax())
            chosen.append(tuple(grid[farthest].tolist()))
            position = farthest + 8
        to_this = np.linalg.norm(seen - seen[:, position : position + 1], axis=2).min(axis=0)
        distance = np.minimum(distance, to_this)
    return np.array(chosen[:256], np.uint8)


def _as_seen(colors: UInt8[np.ndarray, "n 3"]) -> Float32[np.ndarray, "eyes n 3"]:
    """The colours in CIE Lab to a normal eye, a protanope's and a deuteranope's."""
    linear = (colors / 255.0) ** 2.2
    eyes = (np.eye(3), np.array(_PROTANOPIA), np.array(_DEUTERANOPIA))
    shown = [((linear @ eye.T).clip(0, 1) ** (1 / 2.2)).astype(np.float32)[None] for eye in eyes]
    return np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2Lab)[0] for image in shown])
