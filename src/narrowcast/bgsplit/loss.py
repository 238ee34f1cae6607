"""Background splitting's losses: a clamped background logit (eq. 5.1 to 5.3) and an auxiliary task beside it.

Logits have a column for background (0) and one for each of N categories (1 to N), whether the background's is learned
or clamped; that is how the losses of `imbalance` fit either.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from narrowcast.data.known_labels import UNKNOWN as UNKNOWN  # a label that nobody gave

BACKGROUND_LOGIT = 0.1  # b_0, section 5.4.1
AUXILIARY_WEIGHT = 0.1  # λ, section 5.4.1, where it is called λ_G


def with_background(logits: Float[Tensor, "b n"], *, background_logit: float) -> Float[Tensor, "b n1"]:
    """Category logits with the clamped background before them: eq. 5.2, w_0 = 0 and b_0 constant, neither learned.

    Softmax over the result is eq. 5.3; its sum runs to N (the printed N + 1 is a slip).
    """
    return torch.cat([logits.new_full((len(logits), 1), background_logit), logits], 1)


def auxiliary_loss(logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"]) -> Float[Tensor, ""]:
    """Cross-entropy with the pseudo-labels t_i; images whose label is `UNKNOWN` count nowhere."""
    known = (labels != UNKNOWN).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum") / known


def multi_label_loss(
    logits: Float[Tensor, "b n"], labels: Int[Tensor, "b n"], *, background_logit: float
) -> Float[Tensor, ""]:
    """Binary cross-entropy of each category against the clamped background, for the labels that are known.

    p(category n | x) = σ(w_n · F(x) + b_n − b_0): eq. 5.3 for each category on its own, for images that may show
    several and for labels that are missing (`UNKNOWN`), as mining needs (section 4.2). The mean is over known labels.
    """
    known = labels != UNKNOWN
    each = F.binary_cross_entropy_with_logits(
        logits - background_logit, labels.clamp(min=0).to(logits.dtype), reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)
