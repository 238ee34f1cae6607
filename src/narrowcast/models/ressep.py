"""ResSep, the thesis's baseline for ImageNet: residual units of depthwise separable convolutions (section 3.3.1).

Layers as in figure 3.2b, but the stride of 2 sits in the *last* unit of blocks 1 to 3 (only so do tables 3.1 and 3.4
recount), and block 4 runs at 7×7. Not decided by the tables, and ours: a ReLU after each depthwise and each first
separable convolution and after the sum; where the stride is 2, the shortcut averages 2×2 pixels.
"""

from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STEM_CHANNELS = 64  # not scaled by the width
BLOCK_CHANNELS = (128, 256, 512, 1024)  # times the width


def separable(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    """Depthwise 3×3, norm, ReLU, pointwise, norm."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
    )


@final
class ResSepUnit(nn.Module):
    """Two separable convolutions beside a shortcut, which has weights only where the channels change."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.first = separable(channels_in, channels_out, stride=stride)
        self.second = separable(channels_out, channels_out)
        projection = (nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))
        self.shortcut = nn.Sequential(*(projection if channels_in != channels_out else ()))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        kept = x
        if self.stride > 1:
            kept = F.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(kept))


def block(channels_in: int, channels_out: int, *, depth: int, stride: int) -> nn.Sequential:
    """`depth` units; the first widens, the last has the stride."""
    widths = [channels_in] + [channels_out] * depth
    strides = [1] * (depth - 1) + [stride]
    return nn.Sequential(*(ResSepUnit(a, b, stride=s) for a, b, s in zip(widths, widths[1:], strides, strict=False)))


def initial_block() -> nn.Sequential:
    """A quarter of the image's size, 64 channels."""
    convolution = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(
        convolution, nn.BatchNorm2d(STEM_CHANNELS), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)
    )


def blocks(first: int, last: int, *, depth: int, width: float, channels_in: int) -> nn.Sequential:
    """Blocks `first` to `last` (1 to 4) with channels scaled by `width`; all but block 4 halve the size."""
    made, channels = [], channels_in
    for number in range(first, last + 1):
        channels_out = round(BLOCK_CHANNELS[number - 1] * width)
        made.append(block(channels, channels_out, depth=depth, stride=1 if number == 4 else 2))
        channels = channels_out
    return nn.Sequential(*made)


def classifier(channels: int, num_classes: int) -> nn.Sequential:
    """Average over all positions, then a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


@final
class ResSep(nn.Module):
    """A static classifier: d units a block, channels scaled by w (table 3.1)."""

    def __init__(self, num_classes: int = 1000, *, depth: int, width: float) -> None:
        super().__init__()
        self.dim = round(BLOCK_CHANNELS[3] * width)
        self.initial = initial_block()
        self.blocks = blocks(1, 4, depth=depth, width=width, channels_in=STEM_CHANNELS)
        self.head = classifier(self.dim, num_classes)
        init_weights(self)

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """What the last linear layer sees."""
        return self.blocks(self.initial(images)).mean((2, 3))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        return self.head(self.blocks(self.initial(images)))


def init_weights(net: nn.Module) -> None:
    """He's normal initialisation of all convolutions; the rest as torch has it."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
