"""Losses for imbalanced classes, to compare with: each takes logits (b, classes), labels (b,) and what it needs.

`counts` are training images of each class, background first.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def focal_loss(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"], *, gamma: float) -> Float[Tensor, ""]:
    """Mean of (1 − p_y)^γ · −log p_y, over softmax [Lin 2017]."""
    log_p = -F.cross_entropy(logits, labels, reduction="none")
    return ((1 - log_p.exp()).clamp(min=0).pow(gamma) * -log_p).mean()


def ldam_margins(counts: Sequence[int], *, largest: float) -> list[float]:
    """Margins ∝ n^(−1/4), the rarest class's being `largest` [Cao 2019, eq. 13].

    >>> ldam_margins([16, 1], largest=0.5)
    [0.25, 0.5]
    """
    raw = [max(1, num) ** -0.25 for num in counts]
    return [largest * value / max(raw) for value in raw]


def ldam_loss(
    cosines: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    *,
    margins: Float[Tensor, " c"],
    weights: Float[Tensor, " c"],
    scale: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of scale × (cosines, the right one less its margin), weighted by class [Cao 2019]."""
    offset = margins[labels][:, None] * F.one_hot(labels, cosines.shape[1])
    return F.cross_entropy(scale * (cosines - offset), labels, weight=weights)


def effective_weights(counts: Sequence[int], *, beta: float) -> list[float]:
    """Class weights ∝ (1 − β) / (1 − β^n), of mean 1 [Cui 2019]; what LDAM's deferred re-weighting uses."""
    raw = [(1 - beta) / (1 - beta ** max(1, num)) for num in counts]
    return [value * len(raw) / sum(raw) for value in raw]


def log_shares(counts: Sequence[int]) -> list[float]:
    """log of each class's share of the training images; a class without any counts as one image.

    >>> [round(value, 3) for value in log_shares([3, 1])]
    [-0.288, -1.386]
    """
    total = sum(max(1, num) for num in counts)
    return [math.log(max(1, num) / total) for num in counts]


def adjusted_loss(
    logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"], *, log_prior: Float[Tensor, " c"], tau: float
) -> Float[Tensor, ""]:
    """Cross-entropy of logits + τ log prior: the logit-adjusted loss [Menon 2021, eq. 10].

    With τ = 1 this is balanced softmax [Ren 2020]: a constant for all classes changes no softmax.
    """
    return F.cross_entropy(logits + tau * log_prior, labels)
