"""Second stages change the classifier, not the features."""

import numpy as np
import pytest
import torch

from narrowcast.bgsplit.second_stage import Linear, learned_scales, retrained, tau_norm


def imbalanced(rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    labels = np.repeat([0, 1, 2], [600, 12, 8])
    means = np.eye(3, 5) * 3
    return torch.from_numpy((means[labels] + rng.normal(size=(620, 5))).astype(np.float32)), labels


def recall(linear: Linear, features: torch.Tensor, labels: np.ndarray) -> float:
    decided = linear(features).argmax(1).numpy()
    return float(np.mean([(decided[labels == ix] == ix).mean() for ix in range(3)]))


def test_tau_norm_divides_by_the_norm() -> None:
    linear = Linear(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.ones(2))
    whole, half = tau_norm(linear, tau=1.0), tau_norm(linear, tau=0.5)
    torch.testing.assert_close(whole.weight, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    torch.testing.assert_close(half.weight[0], torch.tensor([3.0, 4.0]) / 5**0.5)
    assert not whole.bias.any()


def test_scales_keep_directions(rng: np.random.Generator) -> None:
    features, labels = imbalanced(rng)
    linear = Linear(torch.eye(3, 5), torch.tensor([2.0, 0.1, 0.1]))
    scaled = learned_scales(linear, features, labels, seed=0)
    factors = scaled.weight.diagonal()
    torch.testing.assert_close(scaled.weight, linear.weight * factors[:, None])
    torch.testing.assert_close(scaled.bias, linear.bias * factors)
    assert factors[0] < factors[1:].min()  # the background's weights were too long


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_class_balanced_retraining_finds_the_rare(seed: int, rng: np.random.Generator) -> None:
    """Three separable clusters: a classifier that always says background has a mean recall of a third."""
    features, labels = imbalanced(rng)
    lazy = Linear(torch.zeros(3, 5), torch.tensor([5.0, 0, 0]))
    assert recall(lazy, features, labels) == pytest.approx(1 / 3)
    assert recall(retrained(lazy, features, labels, seed=seed), features, labels) > 0.85


def test_the_same_seed_gives_the_same_classifier(rng: np.random.Generator) -> None:
    features, labels = imbalanced(rng)
    lazy = Linear(torch.zeros(3, 5), torch.zeros(3))
    one, other = (retrained(lazy, features, labels, seed=3) for _ in range(2))
    assert torch.equal(one.weight, other.weight)
