"""Small HydraNets whose batch norms have seen something, so that a slip in any layer shows."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from narrowcast.hydra.families import MakeGate, class_gate, hydra_dense, hydra_res, hydra_ressep, round_robin
from narrowcast.hydra.net import HydraNet

NUM_CLASSES, NUM_BRANCHES, NUM_CHOSEN = 12, 6, 2
FAMILIES: dict[str, Callable[..., HydraNet]] = {
    "ressep": lambda **options: hydra_ressep(
        NUM_CLASSES, depth=2, stem_width=0.125, branch_width=0.0625, gate_width=0.0625, **options
    ),
    "res": lambda **options: hydra_res(1, NUM_CLASSES, **options),
    "dense": lambda **options: hydra_dense(1, NUM_CLASSES, **options),
}


def build(family: str, *, gate: MakeGate | None = None, **options: object) -> HydraNet:
    """A small net of the family; norms have random statistics and weights."""
    torch.manual_seed(0)
    gate = gate or class_gate(round_robin(NUM_CLASSES, NUM_BRANCHES), NUM_BRANCHES)
    net = FAMILIES[family](num_branches=NUM_BRANCHES, num_chosen=NUM_CHOSEN, gate=gate, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param
