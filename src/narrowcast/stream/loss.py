"""The loss of online learning: cross-entropy, weighted by pixel (section 2.2.2)."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

LEAST = 1e-30  # of a probability, before its logarithm


def pixel_loss(
    logits: Float[Tensor, "b k h w"], labels: Int64[Tensor, "b h w"], weights: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """Mean over the pixels that the teacher knows of weight × cross-entropy.

    The thesis does not say what the sum is divided by; here it is the number of pixels with a weight, so that an object
    pulls five times as hard whether the frame is full of objects or nearly empty.
    """
    known = weights > 0
    shares = weights / known.sum().clamp(min=1)
    total: Tensor = _CrossEntropy.apply(logits, labels.where(known, 0), shares)  # pyright: ignore[reportAssignmentType]
    return total


class _CrossEntropy(torch.autograd.Function):
    """Σ share × −log softmax(logits)[label], in half of the passes over the planes that torch's own takes.

    The gradient is exact; the value of a pixel ends at −log `LEAST`.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        probabilities = logits.softmax(1)
        ctx.save_for_backward(probabilities, labels, shares)
        right = probabilities.gather(1, labels[:, None])[:, 0]
        return -(right.clamp_(min=LEAST).log_() * shares).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        probabilities, labels, shares = ctx.saved_tensors
        shares = (shares * gradients[0])[:, None]
        return (probabilities * shares).scatter_add_(1, labels[:, None], -shares), None, None
