"""A trunk cut in two: parts that stay frozen, whose outputs can be kept, and parts that train."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import UsageError
from narrowcast.models.efficientnet_lite import EfficientNetLite0Features
from narrowcast.models.preprocess import Preprocessing
from narrowcast.models.small_maps import SmallMapTrunk, fits_small_maps


@final
class Normalised(nn.Module):
    """Images in [0, 1] as the network takes them."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        return self.preprocessing.normalise(images)


@final
class MeanOverPlaces(nn.Module):
    """Maps to vectors."""

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        return maps.mean((2, 3))


def parts_of(trunk: Any) -> list[nn.Module]:
    """Modules that, one after the other, are `trunk` (a `Trunk` of `models.torch_backbone`).

    EfficientNet-Lite0 has 18: the stem, 16 blocks, the last convolution. Others have those of their children.

    Raises:
        UsageError: the network is not a chain of parts.
    """
    network, first = trunk.network, Normalised(trunk.preprocessing)
    if isinstance(network, EfficientNetLite0Features):
        blocks = [block for stage in network.trunk.stages for block in stage.children()]
        stem = nn.Sequential(first, network.trunk.stem)
        return [stem, *blocks, nn.Sequential(*network.last, MeanOverPlaces())]
    parts = _children(network)
    parts = [nn.Sequential(first, parts[0]), *parts[1:]] if parts else []
    if not parts or not _is_chain(parts, trunk):
        raise UsageError("the backbone is not a chain of parts that could be cut; train all of it or nothing")
    return parts


def _children(network: nn.Module) -> list[nn.Module]:
    """The children of torchvision's classifiers, `features` unpacked; a flatten where the maps end."""
    parts: list[nn.Module] = []
    is_vector = False
    for name, child in network.named_children():
        if isinstance(child, nn.Identity):
            continue
        if name == "features" and isinstance(child, nn.Sequential):
            parts += list(child)
        elif isinstance(child, nn.AdaptiveAvgPool2d):
            parts[-1], is_vector = nn.Sequential(parts[-1], child, nn.Flatten()), True
        elif name in ("fc", "classifier", "head"):
            pooled = [] if is_vector else [MeanOverPlaces()]  # torchvision pools between the two, in `forward`
            parts[-1], is_vector = nn.Sequential(parts[-1], *pooled, child), True
        else:
            parts.append(child)
    return parts


@torch.inference_mode()
def _is_chain(parts: Sequence[nn.Module], trunk: nn.Module) -> bool:
    was_training = trunk.training
    trunk.eval()
    images = torch.linspace(0, 1, 3 * 64 * 64, device=next(trunk.parameters()).device).view(1, 3, 64, 64)
    try:
        return torch.allclose(nn.Sequential(*parts)(images), trunk(images), atol=1e-4)
    except RuntimeError:  # parts that need more than the output of the one before
        return False
    finally:
        trunk.train(was_training)


def cut(trunk: Any, *, trained_parts: int, size_hw: tuple[int, int] | None = None) -> tuple[nn.Module, nn.Module]:
    """(frozen, trained): the last `trained_parts` parts train; −1 trains all.

    With `size_hw` of the images, trained parts of EfficientNet-Lite0 on maps of at most 4 × 4 places run as matrix
    products, several times as fast on a CPU. Batch norm statistics are frozen there, as they should be everywhere else.
    """
    if trained_parts == 0:
        return trunk, nn.Identity()
    if trained_parts == -1:
        return nn.Identity(), trunk
    parts = parts_of(trunk)
    if not 0 < trained_parts <= len(parts):
        raise UsageError(f"trained_parts = {trained_parts}: the backbone has {len(parts)} parts")
    lower, upper = nn.Sequential(*parts[:-trained_parts]), parts[-trained_parts:]
    if size_hw is not None and fits_small_maps(lower, upper, size_hw):
        return lower, SmallMapTrunk(upper)
    return lower, nn.Sequential(*upper)
