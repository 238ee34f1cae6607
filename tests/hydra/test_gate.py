"""One contract for all gates; what each learns from."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.gate import BranchGate, ClassGate, Gate, LearnedGate, NoGate

PARTITION = [0, 1, 2, 2, 1, 0, 0]  # sizes 3, 2, 2
GATES: dict[str, Callable[[], Gate]] = {
    "classes": lambda: ClassGate(nn.Linear(8, 7), PARTITION, num_branches=3),
    "branches": lambda: BranchGate(nn.Linear(8, 3), PARTITION, num_branches=3),
    "learned": lambda: LearnedGate(nn.Linear(8, 3), num_branches=3, balance=0.5, bias_rate=0.1),
    "none": lambda: NoGate(3),
}
FEATURES, LABELS = torch.randn(10, 8), torch.arange(10) % 7


@pytest.mark.parametrize("name", GATES)
def test_scores_are_shares_and_losses_are_finite(name: str) -> None:
    gate = GATES[name]()
    assert isinstance(gate, Gate)
    logits = gate(FEATURES)
    scores = gate.scores(logits)
    assert scores.shape == gate.wanted(scores).shape == (10, 3)
    assert (scores >= 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(10))
    assert gate.loss(logits, LABELS).isfinite()
    gate.observe(torch.rand(10, 3) > 0.5)


@pytest.mark.parametrize("name", ["classes", "branches"])
def test_scores_keep_their_precision_under_autocast(name: str) -> None:
    """A matrix product under autocast made scores bfloat16, and ties between branches."""
    gate = GATES[name]()
    logits = gate(FEATURES)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gate.scores(logits), gate.scores(logits.float()))
        assert gate.scores(logits.bfloat16()).dtype == torch.float32


def test_class_probabilities_are_summed_by_branch() -> None:
    gate = GATES["classes"]()
    logits = gate(FEATURES)
    shares = logits.softmax(1)
    slow = torch.stack([shares[:, [ix for ix, b in enumerate(PARTITION) if b == branch]].sum(1) for branch in range(3)])
    torch.testing.assert_close(gate.scores(logits), slow.T)
    torch.testing.assert_close(gate.loss(logits, LABELS), F.cross_entropy(logits, LABELS))


def test_branch_logits_learn_the_branch_of_the_class() -> None:
    gate = GATES["branches"]()
    logits = gate(FEATURES)
    expected = F.cross_entropy(logits, torch.tensor([PARTITION[label] for label in LABELS]))
    torch.testing.assert_close(gate.loss(logits, LABELS), expected)


def test_balance_is_the_thesis_sum_of_squares_over_batch_and_branches() -> None:
    gate = GATES["learned"]()
    logits = gate(FEATURES)
    printed = sum(gate.scores(logits)[:, branch].sum() ** 2 for branch in range(3))
    torch.testing.assert_close(gate.loss(logits, LABELS), 0.5 * printed * 3 / 10**2)
    torch.testing.assert_close(gate.loss(torch.zeros(10, 3), LABELS), torch.tensor(0.5))


def test_the_bias_favours_branches_that_ran_little_outside_autograd() -> None:
    gate = GATES["learned"]()
    scores = gate.scores(gate(FEATURES))
    gate.observe(torch.tensor([[True, True, False], [True, False, False]]))
    torch.testing.assert_close(gate.wanted(scores) - scores.detach(), torch.tensor([[-0.1, 0.0, 0.1]]).expand(10, 3))
    assert not gate.wanted(scores).requires_grad


@pytest.mark.parametrize("make", [ClassGate, BranchGate])
def test_a_class_cannot_belong_to_a_branch_that_is_not_there(make: Callable[..., Gate]) -> None:
    with pytest.raises(ConfigError, match="branch 3"):
        make(nn.Linear(8, 3), [0, 1, 3], num_branches=3)


def test_balancing_does_not_go_backwards() -> None:
    with pytest.raises(ConfigError, match="negative"):
        LearnedGate(nn.Linear(8, 3), num_branches=3, balance=-1.0)
