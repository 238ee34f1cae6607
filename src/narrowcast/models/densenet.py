"""DenseNet-dN for 32×32 images: N layers in each of three blocks, growth 24 (table 3.3).

No bottleneck and no compression.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.models.ressep import classifier, init_weights

GROWTH, STEM_CHANNELS = 24, 48


@final
class DenseLayer(nn.Module):
    """Norm, ReLU, 3×3 to 24 channels, which are appended to the input."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels_in)
        self.convolution = nn.Conv2d(channels_in, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        return torch.cat([x, self.convolution(F.relu(self.norm(x)))], 1)


def dense_block(channels_in: int, *, num_layers: int) -> nn.Sequential:
    """Gives `channels_in` + 24 · `num_layers` channels."""
    return nn.Sequential(*(DenseLayer(channels_in + GROWTH * ix) for ix in range(num_layers)))


def transition(channels: int) -> nn.Sequential:
    """Norm, ReLU, 1×1 without compression, half the size."""
    return nn.Sequential(
        nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False), nn.AvgPool2d(2)
    )


def stem() -> nn.Conv2d:
    """3×3 to 48 channels."""
    return nn.Conv2d(3, STEM_CHANNELS, 3, padding=1, bias=False)


def last_norm(channels: int) -> nn.Sequential:
    """Norm and ReLU: dense layers leave both to whoever reads them."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


@final
class DenseNet(nn.Module):
    """DenseNet-dN, N = 3, 4, 6, 8, 10, 12, 14 in the thesis."""

    def __init__(self, num_layers: int, num_classes: int = 100) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"a dense block has at least one layer, not {num_layers}")
        after = [STEM_CHANNELS + GROWTH * num_layers * ix for ix in range(4)]
        parts: list[nn.Module] = [stem()]
        for ix in range(3):
            parts.append(dense_block(after[ix], num_layers=num_layers))
            parts.append(transition(after[ix + 1]) if ix < 2 else last_norm(after[3]))
        self.dim = after[3]
        self.trunk = nn.Sequential(*parts)
        self.head = classifier(self.dim, num_classes)
        init_weights(self)

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """What the last linear layer sees."""
        return self.trunk(images).mean((2, 3))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        return self.head(self.trunk(images))
