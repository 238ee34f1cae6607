"""The weighted cross-entropy of section 2.2.2 against a loop over pixels."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from narrowcast.core.frames import IGNORE
from narrowcast.stream.loss import pixel_loss


def loop_over_pixels(logits: Tensor, labels: Tensor, weights: Tensor) -> float:
    """Weight × −log softmax of the true class, summed, over the number of known pixels."""
    total, known = 0.0, 0
    for b, y, x in np.ndindex(*labels.shape):
        if weights[b, y, x] > 0:
            scores = logits[b, :, y, x].double()
            surprise = -math.log(scores.softmax(0)[labels[b, y, x]])
            total += float(weights[b, y, x]) * surprise
            known += 1
    return total / max(known, 1)


def sample(seed: int, *, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, classes, 5, 7, generator=generator)
    labels = torch.randint(0, classes, (2, 5, 7), generator=generator)
    weights = torch.tensor([0.0, 1.0, 5.0])[torch.randint(0, 3, (2, 5, 7), generator=generator)]
    return logits, labels.where(weights > 0, IGNORE), weights


@pytest.mark.parametrize("seed", range(4))
def test_loss_agrees_with_a_loop_over_pixels(seed: int) -> None:
    logits, labels, weights = sample(seed)
    assert pixel_loss(logits, labels, weights).item() == pytest.approx(
        loop_over_pixels(logits, labels, weights), rel=1e-5
    )


def test_a_pixel_in_a_box_pulls_five_times_as_hard() -> None:
    logits, labels, _ = sample(0)
    labels = labels.where(labels != IGNORE, 0)
    weights = torch.ones(2, 5, 7)
    weights[0, 0, 0] = 5
    logits.requires_grad_()
    plain = torch.autograd.grad(pixel_loss(logits, labels, torch.ones(2, 5, 7)), logits)[0]
    heavy = torch.autograd.grad(pixel_loss(logits, labels, weights), logits)[0]
    torch.testing.assert_close(heavy[0, :, 0, 0], 5 * plain[0, :, 0, 0])
    torch.testing.assert_close(heavy[1], plain[1])


def test_unknown_pixels_are_not_learned_from() -> None:
    logits, labels, weights = sample(1)
    logits.requires_grad_()
    gradient = torch.autograd.grad(pixel_loss(logits, labels, weights), logits)[0]
    assert (gradient.abs().sum(1)[weights == 0] == 0).all()
    assert (gradient.abs().sum(1)[weights > 0] > 0).all()


def test_a_frame_of_unknown_pixels_has_no_loss_and_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = pixel_loss(logits, torch.full((1, 4, 4), IGNORE), torch.zeros(1, 4, 4))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_gradients_are_those_of_torchs_cross_entropy() -> None:
    logits, labels, weights = sample(3)
    logits[0, :, 0, 0] = torch.tensor([150.0, 0.0, -150.0])  # a probability of exactly 0
    logits.requires_grad_()
    known = weights > 0
    entropy = torch.nn.functional.cross_entropy(logits, labels.where(known, 0), reduction="none")
    expected = torch.autograd.grad((entropy * weights).sum() / known.sum(), logits)[0]
    torch.testing.assert_close(torch.autograd.grad(pixel_loss(logits, labels, weights), logits)[0], expected)


def test_a_certainty_that_is_wrong_costs_a_finite_loss() -> None:
    logits = torch.tensor([500.0, -500.0]).view(1, 2, 1, 1).requires_grad_()
    loss = pixel_loss(logits, torch.ones(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert 60 < loss.item() < 1001
    assert gradient.flatten().tolist() == [1.0, -1.0]
