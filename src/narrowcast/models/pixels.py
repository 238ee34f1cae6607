"""Between images and a network's tensors: sizes, number types, and labels from logits."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from narrowcast.core.runtime import compute_dtype
from narrowcast.models.card import resized


def to_images(
    image_rgb: UInt8[np.ndarray, "h w 3"], size_wh: tuple[int, int], device: torch.device
) -> Float[Tensor, "1 3 H W"]:
    """`image_rgb` at another size as a batch of one in [0, 1], channels last in memory."""
    pixels = resized(image_rgb, size_wh)
    if pixels is image_rgb:
        pixels = image_rgb.copy()  # torch refuses arrays that it may not write to
    return torch.from_numpy(pixels)[None].permute(0, 3, 1, 2).to(device).float().div_(255)


def scaled_size(size_wh: tuple[int, int], scale: float, *, multiple: int = 1) -> tuple[int, int]:
    """`size_wh` times `scale`, each side rounded to a multiple that is not zero.

    >>> scaled_size((1280, 720), 0.5, multiple=32)
    (640, 352)
    """
    width, height = (max(1, round(side * scale / multiple)) * multiple for side in size_wh)
    return width, height


def reduced_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to what the hardware multiplies fastest, nothing where that is float32."""
    dtype = compute_dtype(device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


@torch.inference_mode()
def labels_at(logits: Float[Tensor, "classes h w"], size_hw: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """The arg max of `logits` after a bilinear resize (corners not aligned) to `size_hw`.

    Only the classes that win at some place of the small logits are brought to full size, which makes this many times
    cheaper with 21 classes; a class that wins nowhere there but would between two places is missed.
    """
    present = logits.max(0).indices.unique()  # argmax over the first axis is many times slower on a CPU
    if len(present) == 1:
        return np.full(size_hw, int(present), np.uint8)
    planes = F.interpolate(logits[present].float()[None], size=size_hw, mode="bilinear", align_corners=False)[0]
    winners = planes.max(0).indices
    return torch.take(present.to(torch.uint8), winners).cpu().numpy()
