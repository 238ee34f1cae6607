"""The static classifiers: shapes, the place of the stride, and that they learn."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from narrowcast.core.errors import ConfigError
from narrowcast.models import cifar_resnet, densenet, ressep
from narrowcast.models.cifar_resnet import CifarResNet
from narrowcast.models.densenet import DenseNet
from narrowcast.models.ressep import ResSep

NETS = {
    "ressep": lambda: ResSep(7, depth=2, width=0.125),
    "resnet": lambda: CifarResNet(14, 7),
    "densenet": lambda: DenseNet(2, 7),
}


@pytest.mark.parametrize("size_hw", [(32, 32), (48, 33)])
@pytest.mark.parametrize("name", NETS)
def test_images_become_logits_and_features(name: str, size_hw: tuple[int, int]) -> None:
    net, images = NETS[name]().eval(), torch.rand(2, 3, *size_hw)
    with torch.inference_mode():
        logits, features = net(images), net.features(images)
        assert logits.shape == (2, 7)
        assert features.shape == (2, net.dim)
        torch.testing.assert_close(net.head[-1](features), logits)


@pytest.mark.parametrize("name", NETS)
def test_a_few_steps_learn_a_batch_by_heart(name: str) -> None:
    torch.manual_seed(0)
    net = NETS[name]()
    images, labels = torch.rand(14, 3, 16, 16), torch.arange(14) % 7
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


def test_ressep_halves_the_size_in_the_last_unit_of_blocks_1_to_3() -> None:
    net = ResSep(depth=3, width=0.5)
    strides = [[unit.stride for unit in block] for block in net.blocks]
    assert strides == [[1, 1, 2], [1, 1, 2], [1, 1, 2], [1, 1, 1]]
    with torch.device("meta"):
        x, sizes = torch.empty(1, 64, 56, 56), []
        for block in ResSep(depth=2, width=0.5).blocks:
            x = block(x)
            sizes.append(x.shape[-1])
    assert sizes == [28, 14, 7, 7]


def test_units_are_what_they_say() -> None:
    """Against the sum written out."""
    unit = ressep.ResSepUnit(4, 6, stride=2).eval()
    x = torch.randn(2, 4, 6, 6)
    means = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    slow = unit.second(F.relu(unit.first(x))) + unit.shortcut(means)
    torch.testing.assert_close(unit(x), F.relu(slow))
    plain = cifar_resnet.PlainUnit(4, 6, stride=2).eval()
    kept = torch.cat([x[..., ::2, ::2], torch.zeros(2, 2, 3, 3)], 1)
    torch.testing.assert_close(plain(x), F.relu(plain.convolutions(x) + kept))
    layer = densenet.DenseLayer(4).eval()
    torch.testing.assert_close(layer(x)[:, :4], x)
    assert layer(x).shape == (2, 4 + densenet.GROWTH, 6, 6)


def test_shortcuts_of_small_resnets_have_no_weights() -> None:
    kernels = [module for module in CifarResNet(20).modules() if isinstance(module, nn.Conv2d)]
    assert len(kernels) + 1 == 20
    assert all(kernel.kernel_size == (3, 3) for kernel in kernels)


@pytest.mark.parametrize("num_layers", [13, 2, 15])
def test_depths_that_do_not_exist_are_refused(num_layers: int) -> None:
    with pytest.raises(ConfigError, match="6n"):
        CifarResNet(num_layers)


def test_empty_dense_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one layer"):
        DenseNet(0)
