"""The loss of online learning: cross-entropy, weighted by pixel (section 2.2.2)."""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def pixel_loss(
    logits: Float[Tensor, "b k h w"], labels: Int64[Tensor, "b h w"], weights: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """Mean over the pixels that the teacher knows of weight × cross-entropy.

    The thesis does not say what the sum is divided by; here it is the number of pixels with a weight, so that an object
    pulls five times as hard whether the frame is full of objects or nearly empty.
    """
    known = weights > 0
    entropy = F.cross_entropy(logits, labels.where(known, 0), reduction="none")
    return (entropy * weights).sum() / known.sum().clamp(min=1)
