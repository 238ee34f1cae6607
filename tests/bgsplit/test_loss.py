"""Each loss is the formula of its paper, written out slowly."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrowcast.bgsplit.imbalance import (
    adjusted_loss,
    effective_weights,
    focal_loss,
    ldam_loss,
    ldam_margins,
    log_shares,
)
from narrowcast.bgsplit.loss import UNKNOWN, auxiliary_loss, multi_label_loss, with_background
from narrowcast.bgsplit.net import FeatureScale, SplitNet

LABELS = torch.tensor([0, 0, 2, 1, 0, 2])
COUNTS = [900, 80, 5]


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(6, 3, dtype=torch.float64) * 3


def slow_softmax(row: list[float]) -> list[float]:
    return [math.exp(value) / sum(math.exp(other) for other in row) for value in row]


def test_the_clamped_background_is_equation_5_3() -> None:
    """p(n) = e^z_n / (e^b0 + Σ e^z_i); what is left is the background's."""
    z, b_0 = torch.randn(5, 4, dtype=torch.float64), 0.1
    fast = with_background(z, background_logit=b_0).softmax(1)
    for row in range(5):
        values = z[row].tolist()
        below = math.exp(b_0) + sum(math.exp(value) for value in values)
        expected = [math.exp(value) / below for value in values]
        assert fast[row, 1:].tolist() == pytest.approx(expected)
        assert fast[row, 0].item() == pytest.approx(1 - sum(expected))


def test_an_image_is_background_where_no_category_reaches_b_0() -> None:
    z = torch.tensor([[0.05, -3.0], [0.05, 0.2]])
    assert with_background(z, background_logit=0.1).argmax(1).tolist() == [0, 2]


def test_the_background_row_is_no_parameter_and_gets_no_gradient() -> None:
    """Eq. 5.2: w_0 and b_0 are not updated; the sum over background images pulls on the categories alone."""
    net = small_net(background_logit=0.1)
    assert net.main.weight.shape == (2, 4)
    logits = net(torch.randn(6, 4)).main
    assert torch.equal(logits[:, 0], torch.full((6,), 0.1))
    F.cross_entropy(logits, LABELS).backward()
    assert net.main.weight.grad is not None
    row = net.main_linear()
    assert not row.weight[0].any()
    assert row.bias[0] == torch.tensor(0.1)
    learned = small_net(background_logit=None)
    assert learned.main.weight.shape == (3, 4)


def small_net(**options: float | None) -> SplitNet:
    scale = FeatureScale(torch.zeros(4), 1.0, False)
    return SplitNet(nn.Identity(), scale, num_categories=2, num_auxiliary=0, **options)  # type: ignore[arg-type]


def test_focal_is_its_formula(logits: Tensor) -> None:
    expected = 0.0
    for row, label in zip(logits.tolist(), LABELS.tolist(), strict=True):
        p = slow_softmax(row)[label]
        expected -= (1 - p) ** 2.5 * math.log(p) / 6
    assert focal_loss(logits, LABELS, gamma=2.5).item() == pytest.approx(expected)
    assert focal_loss(logits, LABELS, gamma=0.0).item() == pytest.approx(F.cross_entropy(logits, LABELS).item())


def test_ldam_is_its_formula() -> None:
    cosines = torch.rand(6, 3, dtype=torch.float64) * 2 - 1
    margins = [0.5 * (num / 5) ** -0.25 for num in COUNTS]
    assert ldam_margins(COUNTS, largest=0.5) == pytest.approx(margins)
    weights = effective_weights(COUNTS, beta=0.999)
    slow, total = 0.0, 0.0
    for row, label in zip(cosines.tolist(), LABELS.tolist(), strict=True):
        shifted = [30 * (value - (margins[label] if ix == label else 0)) for ix, value in enumerate(row)]
        slow -= weights[label] * math.log(slow_softmax(shifted)[label])
        total += weights[label]
    tensors = {"margins": torch.tensor(margins).double(), "weights": torch.tensor(weights).double()}
    assert ldam_loss(cosines, LABELS, scale=30, **tensors).item() == pytest.approx(slow / total)


def test_effective_numbers_weigh_the_rare_more() -> None:
    """(1 − β) / (1 − β^n) = 1 / Σ_{i<n} β^i."""
    beta = 0.9
    raw = [1 / sum(beta**ix for ix in range(num)) for num in COUNTS]
    expected = [value * 3 / sum(raw) for value in raw]
    assert effective_weights(COUNTS, beta=beta) == pytest.approx(expected)


def test_logit_adjustment_is_balanced_softmax(logits: Tensor) -> None:
    """Balanced softmax: n_y e^z_y / Σ n_i e^z_i."""
    expected = 0.0
    for row, label in zip(logits.tolist(), LABELS.tolist(), strict=True):
        below = sum(num * math.exp(value) for num, value in zip(COUNTS, row, strict=True))
        expected -= math.log(COUNTS[label] * math.exp(row[label]) / below) / 6
    prior = torch.tensor(log_shares(COUNTS)).double()
    assert prior.exp().sum().item() == pytest.approx(1, rel=1e-6)
    assert adjusted_loss(logits, LABELS, log_prior=prior, tau=1.0).item() == pytest.approx(expected, rel=1e-6)


def test_unknown_pseudo_labels_count_nowhere(logits: Tensor) -> None:
    labels = LABELS.clone()
    labels[[1, 3]] = UNKNOWN
    kept = [0, 2, 4, 5]
    expected = F.cross_entropy(logits[kept], labels[kept]).item()
    assert auxiliary_loss(logits, labels).item() == pytest.approx(expected)
    assert auxiliary_loss(logits, torch.full_like(labels, UNKNOWN)).item() == 0


def test_several_labels_are_binary_tasks_against_the_background() -> None:
    z = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, 0], [UNKNOWN, 1], [0, UNKNOWN]])
    slow = 0.0
    for row, column, target in [(0, 0, 1), (0, 1, 0), (1, 1, 1), (2, 0, 0)]:
        p = 1 / (1 + math.exp(0.1 - z[row, column].item()))
        slow -= math.log(p if target else 1 - p) / 4
    loss = multi_label_loss(z, labels, background_logit=0.1)
    assert loss.item() == pytest.approx(slow)
    loss.backward()
    assert z.grad is not None
    assert z.grad[1, 0] == z.grad[2, 1] == 0


def test_one_category_alone_is_the_softmax_against_the_background() -> None:
    """N = 1: binary cross-entropy and eq. 5.3 are the same."""
    z, labels = torch.randn(6, 1), (LABELS > 0).long()
    binary = multi_label_loss(z, labels[:, None], background_logit=0.1)
    torch.testing.assert_close(binary, F.cross_entropy(with_background(z, background_logit=0.1), labels))
