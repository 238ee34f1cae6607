"""Backbones become HydraNets that begin as the same function."""

import pytest
import torch
from torch import nn
from torchvision import models

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.evaluate import executed_macs
from narrowcast.hydra.families import branch_gate, learned_gate
from narrowcast.hydra.upcycle import hydranet_from, stage_names

BACKBONES = {
    "resnet18": "layer4",
    "mobilenet_v2": "features.17",
    "mobilenet_v3_small": "features.11",
    "efficientnet_b0": "features.7",
}
IMAGES = torch.rand(2, 3, 64, 64)


def warmed(name: str) -> nn.Module:
    torch.manual_seed(0)
    net = models.get_model(name, weights=None, num_classes=10)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1)
    return net.eval()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "resnet18" else []) for name in BACKBONES]
)
def test_copies_begin_as_the_backbone_in_every_form(name: str) -> None:
    backbone = warmed(name)
    with torch.inference_mode():
        expected = backbone(IMAGES)
        net = hydranet_from(backbone, branch_at=BACKBONES[name], num_branches=3, num_chosen=2).eval()
        for form in ("loop", "gathered", "sorted"):
            net.form = form
            torch.testing.assert_close(net(IMAGES).logits, expected, atol=1e-5, rtol=1e-4)


def test_one_copy_costs_what_the_backbone_costs_but_for_the_gate() -> None:
    backbone = warmed("resnet18")
    macs = executed_macs(backbone, (64, 64))
    net = hydranet_from(backbone, branch_at="layer4", num_branches=5, num_chosen=1)
    assert executed_macs(net, (64, 64)) == macs + 256 * 10


def test_branches_can_end_before_the_head_and_learn_other_classes() -> None:
    net = hydranet_from(
        warmed("mobilenet_v2"),
        branch_at="features.15",
        rejoin_at="features.18",
        num_branches=4,
        num_chosen=2,
        num_classes=7,
        gate=branch_gate([0, 1, 2, 3, 0, 1, 2], 4),
    )
    assert len(net.branches[0]) == 3  # type: ignore[arg-type]
    assert net(IMAGES).logits.shape == (2, 7)


def test_branches_can_begin_afresh() -> None:
    backbone = warmed("resnet18")
    copied, fresh = (
        hydranet_from(backbone, branch_at="layer4", num_branches=2, num_chosen=1, upcycle=upcycle, gate=learned_gate(2))
        for upcycle in (True, False)
    )
    same = [
        torch.equal(a, b) for a, b in zip(copied.branches[0].parameters(), copied.branches[1].parameters(), strict=True)
    ]
    assert all(same)
    assert not torch.equal(next(fresh.branches[0].parameters()), next(fresh.branches[1].parameters()))


def test_stages_that_are_not_there_are_named() -> None:
    backbone = warmed("resnet18")
    with pytest.raises(ConfigError, match=r"no such stage \(did you mean 'layer[1-4]'"):
        hydranet_from(backbone, branch_at="layer5", num_branches=2, num_chosen=1)
    with pytest.raises(ConfigError, match="needs a stage before it"):
        hydranet_from(backbone, branch_at="conv1", num_branches=2, num_chosen=1)
    with pytest.raises(ConfigError, match="must come before 'layer2'"):
        hydranet_from(backbone, branch_at="layer3", rejoin_at="layer2", num_branches=2, num_chosen=1)
    assert stage_names(backbone)[4:8] == ["layer1", "layer2", "layer3", "layer4"]


def test_parts_that_do_not_run_one_after_another_are_refused() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc((self.a(x) + self.b(x)).mean((2, 3)))

    with pytest.raises(ConfigError, match="do not run one after another"):
        hydranet_from(Forked(), branch_at="b", num_branches=2, num_chosen=1)


@pytest.mark.slow  # importing timm takes longer than all tests above
@pytest.mark.parametrize(("name", "branch_at"), [("resnet18", "layer4"), ("mobilenetv3_small_100", "blocks.5")])
def test_timm_models_that_expose_stages_work_too(name: str, branch_at: str) -> None:
    timm = pytest.importorskip("timm")
    backbone = timm.create_model(name, num_classes=10).eval()
    with torch.inference_mode():
        net = hydranet_from(backbone, branch_at=branch_at, num_branches=2, num_chosen=1).eval()
        torch.testing.assert_close(net(IMAGES).logits, backbone(IMAGES), atol=1e-5, rtol=1e-4)
