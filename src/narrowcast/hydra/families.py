"""The thesis's HydraNets, made with the template: Hydra-ResSep, Hydra-Res, Hydra-Dense (sections 3.3.2 and 3.4.1)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.combine import Combine, add, concatenate
from narrowcast.hydra.gate import BranchGate, ClassGate, Gate, LearnedGate, NoGate
from narrowcast.hydra.net import HydraNet
from narrowcast.models import cifar_resnet, densenet, ressep

Trunk = Callable[[int], nn.Module]  # the gate's layers, ending in so many logits
MakeGate = Callable[[Trunk], Gate]


def round_robin(num_classes: int, num_branches: int) -> list[int]:
    """A partition to begin with: class 0 to branch 0, 1 to 1, and so on around."""
    return [ix % num_branches for ix in range(num_classes)]


def class_gate(branch_of_class: Sequence[int], num_branches: int) -> MakeGate:
    """The thesis's gate for this partition."""
    return lambda trunk: ClassGate(trunk(len(branch_of_class)), branch_of_class, num_branches=num_branches)


def branch_gate(branch_of_class: Sequence[int], num_branches: int) -> MakeGate:
    """A gate with one supervised logit a branch."""
    return lambda trunk: BranchGate(trunk(num_branches), branch_of_class, num_branches=num_branches)


def learned_gate(num_branches: int, *, balance: float = 0.0, bias_rate: float = 0.0) -> MakeGate:
    """LEARN, LEARN-BALANCE (`balance` > 0) or balanced by a bias (`bias_rate` > 0)."""
    return lambda trunk: LearnedGate(
        trunk(num_branches), num_branches=num_branches, balance=balance, bias_rate=bias_rate
    )


def no_gate(num_branches: int) -> MakeGate:
    """NO GATING; the trunk is not built."""
    return lambda trunk: NoGate(num_branches)


def hydra_ressep(
    num_classes: int = 1000,
    *,
    depth: int,
    stem_width: float,
    branch_width: float = 0.125,
    gate_width: float,
    num_branches: int = 50,
    num_chosen: int = 5,
    branch_after: int = 3,
    combine: Combine = add,
    gate: MakeGate | None = None,
) -> HydraNet:
    """Hydra-ResSep: the stem is blocks 1 to `branch_after`, each branch the rest and a projection (figure 3.2).

    `depth`, `stem_width`, `branch_width`, `gate_width`, `num_chosen` and `num_branches` are d, w_s, w_b, w_g, k and n_b
    of table 3.2.
    """
    if branch_after not in (2, 3):
        raise ConfigError(f"branch_after = {branch_after}: must be 2 or 3, the last block of the stem")
    stem_channels = round(ressep.BLOCK_CHANNELS[branch_after - 1] * stem_width)
    joined = round(ressep.BLOCK_CHANNELS[3] * stem_width)
    rest = partial(ressep.blocks, branch_after + 1, 4, depth=depth, channels_in=stem_channels)

    def branch() -> nn.Module:
        channels = round(ressep.BLOCK_CHANNELS[3] * branch_width)
        projection = (nn.Conv2d(channels, joined, 1, bias=False), nn.BatchNorm2d(joined))
        return nn.Sequential(rest(width=branch_width), *projection)

    def trunk(num_outputs: int) -> nn.Module:
        channels = round(ressep.BLOCK_CHANNELS[3] * gate_width)
        return nn.Sequential(rest(width=gate_width), ressep.classifier(channels, num_outputs))

    stem_blocks = ressep.blocks(1, branch_after, depth=depth, width=stem_width, channels_in=ressep.STEM_CHANNELS)
    combiner = nn.Sequential(
        ressep.separable(_joined(joined, num_chosen, combine), joined),
        nn.ReLU(inplace=True),
        ressep.classifier(joined, num_classes),
    )
    return _assembled(
        stem=nn.Sequential(ressep.initial_block(), stem_blocks),
        branches=[branch() for _ in range(num_branches)],
        gate=(gate or class_gate(round_robin(num_classes, num_branches), num_branches))(trunk),
        combiner=combiner,
        num_chosen=num_chosen,
        combine=combine,
    )


@final
class PooledBranch(nn.Module):
    """Layers, the mean over positions, then a linear layer: how the branches of the CIFAR nets end (recounted)."""

    def __init__(self, layers: nn.Module, channels: int, *, bias: bool) -> None:
        super().__init__()
        self.layers = layers
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.linear = nn.Linear(channels, channels, bias=bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return self.linear(self.pool(self.layers(x)))


def hydra_res(
    depth: int,
    num_classes: int = 100,
    *,
    num_branches: int = 20,
    num_chosen: int = 4,
    branch_after: int = 2,
    combine: Combine = add,
    gate: MakeGate | None = None,
) -> HydraNet:
    """Hydra-Res-dN of table 3.3: `depth` units a stage, stages 1 to `branch_after` are the stem."""
    if branch_after not in (1, 2):
        raise ConfigError(f"branch_after = {branch_after}: must be 1 or 2, the last stage of the stem")
    stages = partial(cifar_resnet.stage, num_units=depth)
    channels = cifar_resnet.STAGE_CHANNELS[2]

    def branch() -> nn.Module:
        return PooledBranch(nn.Sequential(*map(stages, range(branch_after + 1, 4))), channels, bias=True)

    return _assembled(
        stem=nn.Sequential(cifar_resnet.stem(), *map(stages, range(1, branch_after + 1))),
        branches=[branch() for _ in range(num_branches)],
        gate=(gate or class_gate(round_robin(num_classes, num_branches), num_branches))(
            lambda num_outputs: nn.Sequential(branch(), nn.Linear(channels, num_outputs))
        ),
        combiner=nn.Linear(_joined(channels, num_chosen, combine), num_classes),
        num_chosen=num_chosen,
        combine=combine,
    )


def hydra_dense(
    depth: int,
    num_classes: int = 100,
    *,
    num_branches: int = 20,
    num_chosen: int = 4,
    combine: Combine = add,
    gate: MakeGate | None = None,
) -> HydraNet:
    """Hydra-Dense-dN of table 3.3: block 1, transition 1 and block 2 are the stem; branches own transition 2."""
    after = [densenet.STEM_CHANNELS + densenet.GROWTH * depth * ix for ix in range(4)]
    block = partial(densenet.dense_block, num_layers=depth)

    def branch() -> nn.Module:
        layers = (densenet.transition(after[2]), block(after[2]), densenet.last_norm(after[3]))
        return PooledBranch(nn.Sequential(*layers), after[3], bias=False)

    return _assembled(
        stem=nn.Sequential(densenet.stem(), block(after[0]), densenet.transition(after[1]), block(after[1])),
        branches=[branch() for _ in range(num_branches)],
        gate=(gate or class_gate(round_robin(num_classes, num_branches), num_branches))(
            lambda num_outputs: nn.Sequential(branch(), nn.Linear(after[3], num_outputs))
        ),
        combiner=nn.Linear(_joined(after[3], num_chosen, combine), num_classes),
        num_chosen=num_chosen,
        combine=combine,
    )


def _joined(channels: int, num_chosen: int, combine: Combine) -> int:
    return channels * num_chosen if combine is concatenate else channels


def _assembled(
    *,
    stem: nn.Module,
    branches: list[nn.Module],
    gate: Gate,
    combiner: nn.Module,
    num_chosen: int,
    combine: Combine,
) -> HydraNet:
    net = HydraNet(stem=stem, branches=branches, gate=gate, combiner=combiner, num_chosen=num_chosen, combine=combine)
    ressep.init_weights(net)
    return net
