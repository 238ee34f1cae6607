"""Gates: which branches an image should run, and how the gate learns to tell (sections 3.2.2 and 3.4.2, table 3.8).

A gate has a trunk, which ends in one logit a class or one a branch. Only with one logit a *class* do the thesis's
counts come out (recounted), so `ClassGate` is the thesis's; whether it sums probabilities before the top k is unsaid.
"""

from collections.abc import Sequence
from typing import Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError


@runtime_checkable
class Gate(Protocol):
    """What a HydraNet asks of its gate, which is a module.

    Attributes:
        num_branches: that it chooses from.
        is_weighting: whether a chosen branch's output is multiplied by its score.
    """

    num_branches: int
    is_weighting: bool

    def __call__(self, features: Tensor) -> Float[Tensor, "n outputs"]:
        """The logits that `scores` and `loss` take."""
        ...

    def scores(self, logits: Float[Tensor, "n outputs"]) -> Float[Tensor, "n branches"]:
        """g(I) of section 3.2.2: not negative, summing to 1 for each image."""
        ...

    def wanted(self, scores: Float[Tensor, "n branches"]) -> Float[Tensor, "n branches"]:
        """What the top k is taken of."""
        ...

    def loss(self, logits: Float[Tensor, "n outputs"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """What the gate adds to the cross-entropy of the whole network."""
        ...

    def observe(self, is_chosen: Tensor) -> None:
        """Take note of a training batch's choices, (n, branches) True where a branch ran."""
        ...


@final
class ClassGate(nn.Module):
    """The thesis's gate: class logits, cross-entropy against the class, a branch's score the sum over its classes."""

    is_weighting = False

    def __init__(self, trunk: nn.Module, branch_of_class: Sequence[int], *, num_branches: int) -> None:
        super().__init__()
        _check(branch_of_class, num_branches)
        self.trunk, self.num_branches = trunk, num_branches
        self.register_buffer("branch_of_class", torch.tensor(branch_of_class))
        self.branch_of_class: Tensor

    def forward(self, features: Tensor) -> Float[Tensor, "n classes"]:
        return self.trunk(features)

    def scores(self, logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n branches"]:
        shares = _precise(logits).softmax(1)
        # not a matrix product, which autocast would round to bfloat16, and with it the order of the branches
        return shares.new_zeros(len(shares), self.num_branches).index_add(1, self.branch_of_class, shares)

    def wanted(self, scores: Tensor) -> Tensor:
        return scores

    def loss(self, logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        return F.cross_entropy(_precise(logits), labels)

    def observe(self, is_chosen: Tensor) -> None:
        pass


@final
class BranchGate(nn.Module):
    """One logit a branch, cross-entropy against the branch of the class: the "branch classification loss" of 3.4.2."""

    is_weighting = False

    def __init__(self, trunk: nn.Module, branch_of_class: Sequence[int], *, num_branches: int) -> None:
        super().__init__()
        _check(branch_of_class, num_branches)
        self.trunk, self.num_branches = trunk, num_branches
        self.register_buffer("branch_of_class", torch.tensor(branch_of_class))
        self.branch_of_class: Tensor

    def forward(self, features: Tensor) -> Float[Tensor, "n branches"]:
        return self.trunk(features)

    def scores(self, logits: Float[Tensor, "n branches"]) -> Float[Tensor, "n branches"]:
        return _precise(logits).softmax(1)

    def wanted(self, scores: Tensor) -> Tensor:
        return scores

    def loss(self, logits: Float[Tensor, "n branches"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        return F.cross_entropy(_precise(logits), self.branch_of_class[labels])

    def observe(self, is_chosen: Tensor) -> None:
        pass


@final
class LearnedGate(nn.Module):
    """LEARN of table 3.8: no labels for the gate; its scores weigh the branches' outputs and learn from that.

    Args:
        trunk: gives one logit a branch.
        num_branches: that it chooses from.
        balance: λ_bal of LEARN-BALANCE. The thesis adds λ_bal Σ_b (Σ_i g(i, b))², which grows with the batch; here it
            is λ_bal · branches · Σ_b (mean_i g(i, b))², which is λ_bal where all branches are used alike.
        bias_rate: for the balance without a loss (auxiliary-loss-free balancing, 2024): after each batch the bias of a
            branch moves by this much, up if it ran less often than others, down if more. The bias counts for the top k
            only, not for the weights, and no gradient flows through it.
    """

    is_weighting = True

    def __init__(self, trunk: nn.Module, *, num_branches: int, balance: float = 0.0, bias_rate: float = 0.0) -> None:
        super().__init__()
        if balance < 0 or bias_rate < 0:
            raise ConfigError(f"balance = {balance}, bias_rate = {bias_rate}: must not be negative")
        self.trunk, self.num_branches = trunk, num_branches
        self.balance, self.bias_rate = balance, bias_rate
        self.register_buffer("bias", torch.zeros(num_branches))
        self.bias: Tensor

    def forward(self, features: Tensor) -> Float[Tensor, "n branches"]:
        return self.trunk(features)

    def scores(self, logits: Float[Tensor, "n branches"]) -> Float[Tensor, "n branches"]:
        return _precise(logits).softmax(1)

    def wanted(self, scores: Float[Tensor, "n branches"]) -> Float[Tensor, "n branches"]:
        return scores.detach() + self.bias

    def loss(self, logits: Float[Tensor, "n branches"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        return self.balance * self.num_branches * self.scores(logits).mean(0).square().sum()

    @torch.no_grad()
    def observe(self, is_chosen: Tensor) -> None:
        if self.bias_rate:
            used = is_chosen.float().mean(0)
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(used)  # a sum, but only who is above the mean matters
            self.bias += self.bias_rate * torch.sign(used.mean() - used)


@final
class NoGate(nn.Module):
    """NO GATING of table 3.8: all branches alike for all images, at no cost."""

    is_weighting = False

    def __init__(self, num_branches: int) -> None:
        super().__init__()
        self.num_branches = num_branches

    def forward(self, features: Tensor) -> Float[Tensor, "n branches"]:
        return features.new_zeros(features.shape[0], self.num_branches)

    def scores(self, logits: Float[Tensor, "n branches"]) -> Float[Tensor, "n branches"]:
        return torch.full_like(logits, 1 / self.num_branches)

    def wanted(self, scores: Tensor) -> Tensor:
        return scores

    def loss(self, logits: Float[Tensor, "n branches"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        return logits.new_zeros(())

    def observe(self, is_chosen: Tensor) -> None:
        pass


def _precise(logits: Tensor) -> Tensor:
    """At least float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check(branch_of_class: Sequence[int], num_branches: int) -> None:
    wrong = [branch for branch in branch_of_class if not 0 <= branch < num_branches]
    if wrong:
        raise ConfigError(f"a class belongs to branch {wrong[0]}, but the branches are 0 to {num_branches - 1}")
