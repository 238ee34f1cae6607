"""Whether the picture jumps: a cut, a camera that was turned, lights that went on somewhere. Ours.

Two frames in a row are alike almost pixel by pixel. Thumbnails of them are compared by correlation, which does not see
a brightness that changes everywhere at once.
"""

from collections.abc import Mapping
from typing import final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

SIZE_WH = (32, 24)
# One minus the correlation of two frames in a row. Ours: in 14 clips of 10 frames a second and more it was at most
# 0.57, with a shaking camera, and mostly below 0.05; at 11 cuts of drawn streams at least 0.72.
LEAST_JUMP = 0.5
TIMES = 4.0  # so often the mean of before: at a frame a second, drives jump all the time
MEMORY = 0.9  # of that mean
FIRST_MEAN = 0.2  # as of a stream that shakes: what is usual is not known yet
APART = 4  # frames from one jump to the next: lights that flash are no cuts, and each costs a call of the teacher
FLAT = 4.0  # grey levels of deviation; what is flatter (black, fog) has nothing but noise to compare


@final
class Cuts:
    """Looks at every frame of a stream, in order."""

    def __init__(self) -> None:
        self._before: Float32[np.ndarray, "24 32"] | None = None
        self._mean = FIRST_MEAN
        self._since = APART

    def follow(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Whether this frame does not go on from the one before."""
        grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, SIZE_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._before = self._before, small
        self._since += 1
        if before is None:
            return False
        jump = 1 - correlation(before, small)
        is_cut = self._since > APART and jump > max(LEAST_JUMP, TIMES * self._mean)
        self._mean = MEMORY * self._mean + (1 - MEMORY) * jump
        if is_cut:
            self._since = 0
        return is_cut

    def tensors(self) -> dict[str, Tensor]:
        """What `load` needs to go on exactly."""
        numbers = torch.tensor([self._mean, self._since], dtype=torch.float64)
        return {"cuts.numbers": numbers} | (
            {} if self._before is None else {"cuts.before": torch.from_numpy(self._before)}
        )

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring back what `tensors` gave."""
        self._before = tensors["cuts.before"].numpy() if "cuts.before" in tensors else None
        mean, since = tensors["cuts.numbers"].tolist()
        self._mean, self._since = mean, int(since)


def correlation(one: Float32[np.ndarray, "h w"], other: Float32[np.ndarray, "h w"]) -> float:
    """Of the grey values of two pictures; 1 where both are flat, 0 where one of them is, and the other clearly not."""
    low, high = sorted((float(one.std()), float(other.std())))
    if low < FLAT:
        return 0.0 if high > 2 * FLAT else 1.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
