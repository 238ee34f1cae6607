"""The template: parts of a user's own, the families' options, what is refused."""

import pytest
import torch
from torch import nn

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.combine import concatenate
from narrowcast.hydra.families import branch_gate, hydra_res, hydra_ressep, learned_gate, no_gate, round_robin
from narrowcast.hydra.gate import ClassGate, NoGate
from narrowcast.hydra.net import HydraNet, hydra_loss
from narrowcast.metrics.cost import count_params

from .conftest import NUM_BRANCHES, NUM_CHOSEN, NUM_CLASSES, build

IMAGES = torch.rand(4, 3, 32, 32)


def test_any_parts_that_fit_make_a_hydranet() -> None:
    stem = nn.Conv2d(3, 4, 3, 4)
    gate = ClassGate(nn.Sequential(nn.Flatten(), nn.LazyLinear(6)), [0, 1, 2, 0, 1, 2], num_branches=3)
    branches = [nn.Sequential(nn.Conv2d(4, 5, 1), nn.ReLU()) for _ in range(3)]
    combiner = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6))
    net = HydraNet(stem=stem, branches=branches, gate=gate, combiner=combiner, num_chosen=2)
    output = net(IMAGES)
    features = stem(IMAGES)
    chosen = gate.scores(gate(features)).topk(2, 1).indices
    for image in range(4):  # equation 3.1, written out
        total = sum(branches[int(ix)](features[image : image + 1]) for ix in chosen[image])
        torch.testing.assert_close(output.logits[image], combiner(total)[0])


def test_the_fixed_form_is_the_network_when_the_gate_agrees(family: str) -> None:
    net = build(family)
    with torch.inference_mode():
        output = net(IMAGES[:1])
        torch.testing.assert_close(net.forward_fixed(IMAGES[:1], output.routes.branch_ix.tolist()), output.logits)


@pytest.mark.parametrize("gate", [branch_gate(round_robin(NUM_CLASSES, NUM_BRANCHES), NUM_BRANCHES), learned_gate(6)])
def test_families_take_any_gate(family: str, gate: object) -> None:
    net = build(family, gate=gate).train()
    output = net(IMAGES)
    assert output.logits.shape == (4, NUM_CLASSES)
    assert output.scores.shape == (4, NUM_BRANCHES)
    hydra_loss(output, torch.arange(4), gate=net.gate).backward()


def test_no_gating_runs_every_branch() -> None:
    net = build("res", gate=no_gate(NUM_BRANCHES))
    assert isinstance(net.gate, NoGate)
    assert net(IMAGES).routes.is_chosen(NUM_BRANCHES).all()


def test_concatenation_needs_a_wider_combiner() -> None:
    added, joined = build("res"), build("res", combine=concatenate)
    assert joined(IMAGES).logits.shape == (4, NUM_CLASSES)
    assert count_params(joined) - count_params(added) == 64 * NUM_CLASSES * (NUM_CHOSEN - 1)
    joined.num_chosen = NUM_CHOSEN + 1
    with pytest.raises(ConfigError, match="room for 2"):
        joined(IMAGES)


def test_branching_earlier_makes_branches_longer() -> None:
    early, late = build("res", branch_after=1), build("res")
    assert early(IMAGES).logits.shape == (4, NUM_CLASSES)
    assert count_params(early) > count_params(late)


def test_the_number_of_branches_that_run_can_change() -> None:
    net = build("res")
    for num_chosen in (1, 3, NUM_BRANCHES):
        net.num_chosen = num_chosen
        assert len(net(IMAGES).routes.branch_ix) == 4 * num_chosen


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_chosen = 7"):
        hydra_res(1, 12, num_branches=6, num_chosen=7)
    with pytest.raises(ConfigError, match="branch_after"):
        hydra_ressep(depth=1, stem_width=0.1, gate_width=0.1, branch_after=1)
    with pytest.raises(ConfigError, match="branch_after"):
        hydra_res(1, branch_after=3)
    net = build("res")
    with pytest.raises(ConfigError, match="chooses from 6 branches"):
        HydraNet(stem=net.stem, branches=list(net.branches)[:5], gate=net.gate, combiner=net.combiner, num_chosen=1)
