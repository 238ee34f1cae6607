"""Second stages on features that stay: classifiers made anew or rescaled after training (cRT, LWS, τ-norm) [Kang 2020].

All take features (n, d) and labels (n,) of the training images and give back a linear classifier over all classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from narrowcast.data.image_batches import BalancedClasses

STEPS, BATCH_SIZE = 300, 256  # ours; class-balanced batches, momentum 0.9, cosine to zero


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """logits = features @ weight.T + bias."""

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return features @ self.weight.T + self.bias


def tau_norm(linear: Linear, *, tau: float) -> Linear:
    """Each class's weights divided by their norm to the power τ, without biases [Kang 2020, eq. 6]."""
    norms = linear.weight.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return Linear(linear.weight / norms**tau, torch.zeros_like(linear.bias))


def learned_scales(
    linear: Linear, features: Float[Tensor, "n d"], labels: Int64[np.ndarray, " n"], *, seed: int
) -> Linear:
    """LWS: a learned factor for each class's logit, whose weights keep their directions [Kang 2020, section 4]."""
    logits = linear(features).detach()
    scales = torch.ones(len(linear.bias), requires_grad=True)
    _descend([scales], lambda rows: logits[rows] * scales, labels, seed=seed, learning_rate=0.1)
    factor = scales.detach()
    return Linear(linear.weight * factor[:, None], linear.bias * factor)


def retrained(linear: Linear, features: Float[Tensor, "n d"], labels: Int64[np.ndarray, " n"], *, seed: int) -> Linear:
    """cRT: a new classifier from class-balanced batches [Kang 2020, section 4], begun at zero."""
    weight = torch.zeros_like(linear.weight, requires_grad=True)
    bias = torch.zeros_like(linear.bias, requires_grad=True)
    scale = max(float(features.square().sum(1).mean()) ** 0.5, 1e-12)
    unit = features / scale
    _descend([weight, bias], lambda rows: unit[rows] @ weight.T + bias, labels, seed=seed, learning_rate=10.0)
    return Linear(weight.detach() / scale, bias.detach())


def _descend(
    parameters: list[Tensor],
    logits_of: Callable[[Tensor], Tensor],
    labels: Int64[np.ndarray, " n"],
    *,
    seed: int,
    learning_rate: float,
) -> None:
    """SGD on class-balanced batches of rows."""
    order, targets = BalancedClasses(labels, seed), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(parameters, lr=learning_rate, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        rows = torch.tensor([order(number) for number in range(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)])
        optimizer.zero_grad()
        F.cross_entropy(logits_of(rows), targets[rows]).backward()
        optimizer.step()
        schedule.step()
