"""From a photo to what a backbone sees: one size, one crop, one normalisation, written down so that features repeat."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ConfigError

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of 0-255 RGB


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How an RGB image becomes a backbone's input.

    Attributes:
        size_hw: what the network sees.
        resize: "crop" scales the short side to size / `crop_fraction` and takes the middle; "stretch" keeps everything.
        crop_fraction: 1 for "stretch".
        mean, std: per channel, of RGB in 0-255; the network gets (pixels − mean) / std.
    """

    size_hw: tuple[int, int]
    resize: Literal["crop", "stretch"] = "crop"
    crop_fraction: float = 1.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1 or min(self.std) <= 0:
            raise ConfigError(f"preprocessing: size_hw = {self.size_hw} and std = {self.std} must be positive")
        if not 0 < self.crop_fraction <= 1:
            raise ConfigError(f"preprocessing: crop_fraction = {self.crop_fraction}: must be in (0, 1]")
        if self.resize == "stretch" and self.crop_fraction != 1:
            raise ConfigError("preprocessing: crop_fraction has no effect with resize 'stretch'; remove it")

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """`image_rgb` at `size_hw`, still 8 bits: small enough to keep, and all that decoding threads need to do."""
        height, width = self.size_hw
        if self.resize == "stretch":
            return _resized(image_rgb, (width, height))
        scale = max(height / image_rgb.shape[0], width / image_rgb.shape[1]) / self.crop_fraction
        whole = (max(width, round(image_rgb.shape[1] * scale)), max(height, round(image_rgb.shape[0] * scale)))
        resized = _resized(image_rgb, whole)
        top, left = (whole[1] - height) // 2, (whole[0] - width) // 2
        return np.ascontiguousarray(resized[top : top + height, left : left + width])

    def normalise(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Images in [0, 1] as the network takes them."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (images * 255 - mean) / std

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """What `to_json` wrote."""
        return from_dict(cls, values, where="preprocessing")


def batch(prepared: list[UInt8[np.ndarray, "h w 3"]], device: torch.device) -> Float[Tensor, "b 3 h w"]:
    """Prepared images as one batch in [0, 1], channels last in memory."""
    pixels = torch.from_numpy(np.stack(prepared))
    return pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)


def _resized(image_rgb: UInt8[np.ndarray, "h w 3"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Area averages where it shrinks, which doesn't alias; bilinear where it grows."""
    height, width = image_rgb.shape[:2]
    if (width, height) == size_wh:
        return image_rgb
    is_smaller = size_wh[0] < width or size_wh[1] < height
    resized = cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)
