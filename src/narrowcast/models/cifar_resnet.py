"""ResNet-N for 32×32 images, N = 6n + 2: plain residual units of 16, 32 and 64 channels (table 3.3).

The shortcut has no weights (option A of the ResNet paper): every second pixel, and zeros for the new channels.
"""

from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.models.ressep import classifier, init_weights

STAGE_CHANNELS = (16, 32, 64)


@final
class PlainUnit(nn.Module):
    """Two 3×3 convolutions beside a shortcut without weights."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.num_new = stride, channels_out - channels_in
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        kept = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        if self.num_new:
            kept = F.pad(kept, (0, 0, 0, 0, 0, self.num_new))
        return F.relu(self.convolutions(x) + kept)


def stage(number: int, *, num_units: int) -> nn.Sequential:
    """Stage 1, 2 or 3; stages 2 and 3 begin by halving the size and doubling the channels."""
    channels_out = STAGE_CHANNELS[number - 1]
    first = PlainUnit(STAGE_CHANNELS[max(number - 2, 0)], channels_out, stride=1 if number == 1 else 2)
    return nn.Sequential(first, *(PlainUnit(channels_out, channels_out) for _ in range(num_units - 1)))


def stem() -> nn.Sequential:
    """3×3 to 16 channels, norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, STAGE_CHANNELS[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(STAGE_CHANNELS[0]),
        nn.ReLU(inplace=True),
    )


@final
class CifarResNet(nn.Module):
    """ResNet-N, N = 14, 20, 26, 32, 56, 110, 164 in the thesis."""

    def __init__(self, num_layers: int, num_classes: int = 100) -> None:
        super().__init__()
        num_units, rest = divmod(num_layers - 2, 6)
        if rest or num_units < 1:
            raise ConfigError(f"a ResNet for 32×32 images has 6n + 2 layers (14, 20, 26, …), not {num_layers}")
        self.dim = STAGE_CHANNELS[2]
        self.trunk = nn.Sequential(stem(), *(stage(number, num_units=num_units) for number in (1, 2, 3)))
        self.head = classifier(self.dim, num_classes)
        init_weights(self)

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """What the last linear layer sees."""
        return self.trunk(images).mean((2, 3))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        return self.head(self.trunk(images))
