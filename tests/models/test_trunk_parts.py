"""A trunk that is cut is still the same function, and so are its last blocks as matrix products."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from narrowcast.core.errors import UsageError
from narrowcast.models.efficientnet_lite import EfficientNetLite0Features
from narrowcast.models.preprocess import Preprocessing
from narrowcast.models.small_maps import SmallMapTrunk
from narrowcast.models.torch_backbone import Trunk, split_head
from narrowcast.models.trunk_parts import cut, parts_of


def lively(network: nn.Module) -> nn.Module:
    """With norm statistics that are not those of a fresh network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def lite0() -> Trunk:
    return Trunk(lively(EfficientNetLite0Features()), Preprocessing(size_hw=(64, 64))).eval()


@pytest.mark.parametrize("size", [64, 96])
def test_matrix_products_are_the_convolutions(lite0: Trunk, size: int) -> None:
    lower, upper = cut(lite0, trained_parts=4, size_hw=(size, size))
    assert isinstance(upper, SmallMapTrunk)
    images = torch.rand(3, 3, size, size)
    torch.testing.assert_close(upper(lower(images)), lite0(images), rtol=1e-3, atol=1e-4)


def test_gradients_of_matrix_products_are_those_of_the_convolutions(lite0: Trunk) -> None:
    lower, fast = cut(lite0, trained_parts=3, size_hw=(64, 64))
    _, slow = cut(lite0, trained_parts=3)
    assert isinstance(fast, SmallMapTrunk)
    assert not isinstance(slow, SmallMapTrunk)
    maps = lower(torch.rand(2, 3, 64, 64)).detach()
    found = []
    for upper in (fast, slow):
        lite0.zero_grad()
        upper(maps).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in upper.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3 * float(other.abs().max()) + 1e-6)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_other_networks_are_cut_between_their_children(name: str) -> None:
    network = lively(get_model(name, weights=None))
    split_head(network, name)
    trunk = Trunk(network, Preprocessing(size_hw=(64, 64))).eval()
    lower, upper = cut(trunk, trained_parts=2)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(upper(lower(images)), trunk(images), rtol=1e-4, atol=1e-4)
    assert len(parts_of(trunk)) > 4


def test_all_or_nothing_needs_no_parts(lite0: Trunk) -> None:
    images = torch.rand(1, 3, 64, 64)
    for trained_parts in (0, -1):
        lower, upper = cut(lite0, trained_parts=trained_parts)
        torch.testing.assert_close(upper(lower(images)), lite0(images))


def test_what_cannot_be_cut_is_refused(lite0: Trunk) -> None:
    with pytest.raises(UsageError, match="the backbone has 18 parts"):
        cut(lite0, trained_parts=19)

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (self.one(images) + self.other(images)).mean((2, 3))

    with pytest.raises(UsageError, match="not a chain of parts"):
        cut(Trunk(Branching(), Preprocessing(size_hw=(64, 64))), trained_parts=1)
