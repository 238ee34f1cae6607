"""From coarse logits to a label for every pixel, by how far each class is ahead of the background.

One plane less to resize and compare than logits have; with two classes, as many streams have, a third of the time
(benchmarks/jitnet.py has it in every inference).
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

Labels = UInt8[np.ndarray, "h w"]


def upsample(coarse: Float[Tensor, "b k h w"], size_hw: tuple[int, ...]) -> Float[Tensor, "b k H W"]:
    """Coarse logits at full size; commutes with the 1×1 that made them, so this is the thesis's network (recounted)."""
    if tuple(coarse.shape[-2:]) == tuple(size_hw):
        return coarse
    return F.interpolate(coarse, size=tuple(size_hw), mode="bilinear", align_corners=True)


def leads(coarse: Float[Tensor, "1 k h2 w2"], size_hw: tuple[int, ...]) -> Float[Tensor, "foreground h w"]:
    """The logits less that of class 0, brought to `size_hw` in float32; class i's are plane i − 1."""
    planes = coarse.float().contiguous()  # resizing interleaved planes takes three times as long
    return upsample(planes[:, 1:] - planes[:, :1], size_hw)[0]


def favour(
    ahead: Float[Tensor, "foreground h w"], prior: UInt8[Tensor, "h w"], *, named: float, background: float
) -> None:
    """Move `ahead`, in place, towards what `prior` names: by `named`, or where that is class 0, by `background`.

    255, and every class that there is no plane for, names nothing.
    """
    ahead.sub_((prior == 0).float(), alpha=background)
    for ix, plane in enumerate(ahead):
        plane.add_((prior == ix + 1).float(), alpha=named)


def winners(ahead: Float[Tensor, "foreground h w"]) -> Labels:
    """The class that is furthest ahead; class 0 where none is, and of those that tie the first. Overwrites `ahead`."""
    labels = (ahead[0] > 0).view(torch.uint8)
    best = ahead[0].clamp_(min=0)
    for ix, plane in enumerate(ahead[1:], start=2):
        labels.masked_fill_(plane > best, ix)
        torch.maximum(best, plane, out=best)
    return labels.cpu().numpy()


def most_probable(coarse: Float[Tensor, "1 k h2 w2"], size_hw: tuple[int, ...]) -> Labels:
    """The arg max over classes of coarse logits brought to `size_hw`."""
    return winners(leads(coarse, size_hw))
