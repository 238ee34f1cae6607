"""Folded copies compute what their sources compute, whatever the source learns."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from narrowcast.models import folded
from narrowcast.models.efficientnet_lite import SameConv2d
from narrowcast.models.folded import Folded
from narrowcast.models.jitnet import JITNet
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.mobilenet import MobileNetV2Student

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "jitnet": lambda: JITNet(4, min_head_channels=12),
    "jitnet, two blocks a stage, no skips": lambda: JITNet(3, blocks_per_stage=2, skips=False, width=0.5),
    "mobilenetv2": lambda: MobileNetV2Student(3),
    "lite-segmenter": lambda: LiteSegmenter(3),
}


def lived_in(net: nn.Module) -> nn.Module:
    """`net` in evaluation mode, with norms that do something."""
    rng = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=rng)
            nn.init.normal_(module.bias, 0, 0.2, generator=rng)
    return net.eval()


def images() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("is_fused", [True, False], ids=["fused", "without the fused convolution"])
@torch.inference_mode()
def test_a_folded_network_computes_the_same(
    build: Callable[[], nn.Module], is_fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_fused:
        monkeypatch.setattr(folded, "_FUSED", None)
    torch.manual_seed(0)
    net = lived_in(build())
    expected = net.coarse_logits(images())  # type: ignore[operator]
    got = Folded(net, dtype=torch.float32).net.coarse_logits(images())  # type: ignore[operator]
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_norm_and_no_relu_is_left_where_a_convolution_comes_before(dtype: torch.dtype) -> None:
    net = Folded(lived_in(JITNet(4)), dtype=dtype).net
    assert not any(isinstance(module, nn.BatchNorm2d | nn.ReLU) for module in net.modules())
    assert {parameter.dtype for parameter in net.parameters()} == {dtype}


def test_the_source_stays_as_it_was() -> None:
    net = lived_in(JITNet(4))
    before = copy.deepcopy(net.state_dict())
    types = [type(module) for module in net.modules()]
    Folded(net, dtype=torch.bfloat16).refresh()
    assert [type(module) for module in net.modules()] == types
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_refresh_takes_over_weights_and_statistics() -> None:
    net = lived_in(JITNet(4))
    copied = Folded(net, dtype=torch.float32)
    before = copied.net.coarse_logits(images())
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    net.coarse_logits(images()).square().mean().backward()  # type: ignore[operator]
    optimizer.step()
    expected = net.eval().coarse_logits(images()).detach()  # type: ignore[operator]
    torch.testing.assert_close(copied.net.coarse_logits(images()), before)
    copied.refresh()
    torch.testing.assert_close(copied.net.coarse_logits(images()), expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(expected, before, atol=1e-2)


def test_a_copy_made_in_inference_mode_can_be_refreshed_outside() -> None:
    """It held inference tensors, which may not be written to (found while timing)."""
    net = lived_in(JITNet(2))
    with torch.inference_mode():
        copied = Folded(net, dtype=torch.float32)
    copied.refresh()


def test_convolutions_of_their_own_kind_keep_their_own_padding() -> None:
    row = nn.Sequential(SameConv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU6(inplace=True))
    row = lived_in(row)
    with torch.inference_mode():
        torch.testing.assert_close(Folded(row, dtype=torch.float32).net(images()), row(images()), rtol=1e-4, atol=1e-5)
