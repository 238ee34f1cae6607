"""JITNet: the student that is fast enough to be trained while the video plays (section 2.2.1, tables 2.1 and 2.4).

Written after the stage table below, which reproduces the thesis's operation counts (recounted); m = 0.5 × width.

    stage (at 1280×720)        operation                                            channels
    stem 1     → 640×360       3×3 stride 2, BN, ReLU                               16m
    stem 2     → 320×180       3×3 stride 2, BN, ReLU                               64m
    encoder 1  → 160×90        block, stride 2                                      128m
    encoder 2  → 80×45         block, stride 2                                      128m
    encoder 3  → 40×23         block, stride 2                                      256m
    decoder 3  → 80×45         block on encoder 3, bilinear                         256m
    decoder 2  → 160×90        block on concat(encoder 2, decoder 3), bilinear      128m
    decoder 1  → 320×180       block on concat(encoder 1, decoder 2), bilinear      64m
    head       → 640×360       bilinear; 3×3 BN ReLU; 3×3 BN ReLU                   64m, 16m
    logits     → 1280×720      bilinear, then 1×1                                   classes

Encoder widths are at least 8, decoder and head widths at least `min_head_channels`. The last two operations commute, so
`forward` applies the 1×1 at half size first; `literal_forward` keeps the order of the thesis.
"""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError, ShapeError

MIN_SIDE = 16  # pixels after scaling; ours: five halvings of less leave nothing to learn from
MIN_ENCODER_CHANNELS = 8  # recounted
BN_EPS = 1e-5  # recounted
BN_MOMENTUM = 0.003  # recounted; the share of a new batch in the running statistics
CLASSIFIER_STD = 0.01  # ours: first predictions close to uniform, so that the first loss is log(classes)

Net = TypeVar("Net", bound=nn.Module)


def head_floor(num_classes: int) -> int:
    """The least width of decoder and head convolutions for a number of classes (recounted).

    >>> [head_floor(n) for n in (4, 8, 9, 16, 17, 23)]
    [8, 8, 16, 16, 32, 32]
    """
    if num_classes <= 8:
        return 8
    return 16 if num_classes <= 16 else 32


def resize(x: Float[Tensor, "b c h w"], size_hw: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """`x` resized bilinearly with aligned corners, or `x` itself where the size is right already."""
    if tuple(x.shape[-2:]) == tuple(size_hw):
        return x
    return F.interpolate(x, size=size_hw, mode="bilinear", align_corners=True)


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width."""
    return int(x.shape[-2]), int(x.shape[-1])


def conv_norm(x: Float[Tensor, "b c h w"], conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Float[Tensor, "b d h2 w2"]:
    """`norm(conv(x))`; as one convolution where the norm's statistics are fixed, so that gradients flow past the norm.

    Its scale and shift are learned all the same. The norm's own passes over the head's maps are a fifth of an update.
    """
    if norm.training:
        return norm(conv(x))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight, shift = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation)  # type: ignore[arg-type]


@final
class ConvNormReLU(nn.Sequential):
    """3×3 without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        super().__init__(conv, _batch_norm(out_channels), nn.ReLU(inplace=True))

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        conv, norm, activation = self
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return activation(conv_norm(input, conv, norm))


@final
class Block(nn.Module):
    """The modified ResNet block: 3×3, then 1×3 and 3×1, pre-activated, with a shortcut (section 2.2.1; figure 2.2)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.norm = _batch_norm(in_channels)
        self.conv3x3 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm3x3 = _batch_norm(out_channels)
        self.conv1x3 = nn.Conv2d(out_channels, out_channels, (1, 3), padding=(0, 1))
        self.conv3x1 = nn.Conv2d(out_channels, out_channels, (3, 1), padding=(1, 0))
        self.project = nn.Conv2d(in_channels, out_channels, 1, stride=stride) if in_channels != out_channels else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        activated = F.relu(self.norm(x), inplace=True)
        residual = F.relu(conv_norm(activated, self.conv3x3, self.norm3x3), inplace=True)
        residual = self.conv3x1(self.conv1x3(residual))
        shortcut = x[..., :: self.stride, :: self.stride] if self.project is None else self.project(activated)
        return shortcut + residual


@final
class JITNet(nn.Module):
    """A student: images (b, 3, h, w) in [0, 1] to logits (b, classes, h, w), at any size from 16 pixels a side.

    In training mode the deepest feature map must hold more than one value a channel (batch norm): a batch of one image
    needs a side above 32 pixels.
    """

    architecture: ClassVar[str] = "jitnet"

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        blocks_per_stage: int = 1,
        skips: bool = True,
        scale: float = 1.0,
        min_head_channels: int | None = None,
    ) -> None:
        """Wire the network.

        Args:
            num_classes: background included.
            width: factor on all channels; 1.0 is the baseline of table 2.4 (m = 0.5).
            blocks_per_stage: blocks in each encoder and decoder stage; 1 is the thesis's.
            skips: concatenate each encoder stage to its decoder stage; without is "No Skip" of table 2.4.
            scale: the image is resized by this factor first; logits are still at full size (table 2.4, "Scale").
            min_head_channels: least width of decoder and head; by default `head_floor(num_classes)`.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        floor = head_floor(num_classes) if min_head_channels is None else min_head_channels
        _check_config(num_classes, width=width, blocks_per_stage=blocks_per_stage, scale=scale, floor=floor)
        self.num_classes = num_classes
        self.width = width
        self.blocks_per_stage = blocks_per_stage
        self.skips = skips
        self.scale = scale
        self.min_head_channels = floor

        m = 0.5 * width
        stem1, stem2, enc1, enc2, enc3 = (max(round(c * m), MIN_ENCODER_CHANNELS) for c in (16, 64, 128, 128, 256))
        dec3, dec2, dec1, head1, head2 = (max(round(c * m), floor) for c in (256, 128, 64, 64, 16))
        self.stem1 = ConvNormReLU(3, stem1, stride=2)
        self.stem2 = ConvNormReLU(stem1, stem2, stride=2)
        self.encoder1 = _stage(stem2, enc1, stride=2, num_blocks=blocks_per_stage)
        self.encoder2 = _stage(enc1, enc2, stride=2, num_blocks=blocks_per_stage)
        self.encoder3 = _stage(enc2, enc3, stride=2, num_blocks=blocks_per_stage)
        self.decoder3 = _stage(enc3, dec3, stride=1, num_blocks=blocks_per_stage)
        self.decoder2 = _stage(dec3 + enc2 * skips, dec2, stride=1, num_blocks=blocks_per_stage)
        self.decoder1 = _stage(dec2 + enc1 * skips, dec1, stride=1, num_blocks=blocks_per_stage)
        self.head = nn.Sequential(ConvNormReLU(dec1, head1), ConvNormReLU(head1, head2))
        self.classifier = nn.Conv2d(head2, num_classes, 1)
        _initialise(self)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again: `JITNet.from_config(net.config)`."""
        return {
            "num_classes": self.num_classes,
            "width": self.width,
            "blocks_per_stage": self.blocks_per_stage,
            "skips": self.skips,
            "scale": self.scale,
            "min_head_channels": self.min_head_channels,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "JITNet":
        """A freshly initialised network of this `config`."""
        return cls(**config)

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """What the classifier reads: the last head's output, at half of the (scaled) size.

        Raises:
            ShapeError: `images` is not (b, 3, h, w), or a side is under 16 pixels after scaling.
        """
        images = resize(images, self._scaled_size(images))
        half = self.stem1(images)
        quarter = self.stem2(half)
        encoded1 = self.encoder1(quarter)
        encoded2 = self.encoder2(encoded1)
        encoded3 = self.encoder3(encoded2)
        decoded = resize(self.decoder3(encoded3), size_of(encoded2))
        decoded = resize(self.decoder2(self._join(encoded2, decoded)), size_of(encoded1))
        decoded = resize(self.decoder1(self._join(encoded1, decoded)), size_of(quarter))
        return self.head(resize(decoded, size_of(half)))

    def coarse_logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h2 w2"]:
        """The logits before the last resize, at half of the (scaled) size, rounded up."""
        return self.classifier(self.features(images))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        return resize(self.coarse_logits(images), size_of(images))

    def _join(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        return torch.cat([encoded, decoded], dim=1) if self.skips else decoded

    def _scaled_size(self, images: Tensor) -> tuple[int, int]:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ShapeError(f"JITNet takes images of shape (b, 3, h, w), got {tuple(images.shape)}")
        height, width = (round(side * self.scale) for side in images.shape[-2:])
        if min(height, width) < MIN_SIDE:
            scaled = f" × scale {self.scale}" if self.scale != 1 else ""
            shape = f"{images.shape[-1]}×{images.shape[-2]}"
            raise ShapeError(f"JITNet needs images of at least {MIN_SIDE} pixels a side, got {shape}{scaled}")
        return height, width


def literal_forward(net: JITNet, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
    """The logits in the order of the thesis: features resized to full size, then the 1×1. Equal, and much slower.

    Kept for tests, for the operation counts of tables 2.1 and 2.4, and for the benchmark of the two orders.
    """
    return net.classifier(resize(net.features(images), size_of(images)))


@torch.no_grad()
def take_rows(net: Net, rows: Sequence[Sequence[int]]) -> Net:
    """A copy of `net` with other classes: class i's classifier row is the mean of the rows `rows[i]` of `net`.

    So a stream takes the classes that it needs out of a network pretrained on more: `[[0], [15], [6, 7]]` keeps
    background and class 15 and merges 6 and 7. The features are those of `net` (and as wide: its `min_head_channels`
    stays), on the same device. Works for every student whose last layer is a convolution called `classifier`.

    Raises:
        ConfigError: a class without a row, or a row that `net` does not have.
    """
    taken = copy.deepcopy(net)
    classifier = taken.classifier
    assert isinstance(classifier, nn.Conv2d)
    assert classifier.bias is not None
    for ix, members in enumerate(rows):
        if not members or not all(0 <= row < classifier.out_channels for row in members):
            known = f"rows 0 to {classifier.out_channels - 1}"
            raise ConfigError(f"class {ix} takes the rows {list(members)} of a network that has {known}")
    classifier.weight = nn.Parameter(torch.stack([classifier.weight[list(members)].mean(dim=0) for members in rows]))
    classifier.bias = nn.Parameter(torch.stack([classifier.bias[list(members)].mean(dim=0) for members in rows]))
    classifier.out_channels = len(rows)
    setattr(taken, "num_classes", len(rows))  # noqa: B010 - type checkers take a module's attributes for tensors
    return taken


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


def _stage(in_channels: int, out_channels: int, *, stride: int, num_blocks: int) -> nn.Sequential:
    first = Block(in_channels, out_channels, stride=stride)
    return nn.Sequential(first, *(Block(out_channels, out_channels) for _ in range(num_blocks - 1)))


def _initialise(net: JITNet) -> None:
    """He for convolutions (before ReLU), zero biases, a small classifier."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(net.classifier.weight, std=CLASSIFIER_STD)


def _check_config(num_classes: int, *, width: float, blocks_per_stage: int, scale: float, floor: int) -> None:
    if num_classes < 2:
        raise ConfigError(f"JITNet: num_classes counts the background and is at least 2, got {num_classes}")
    if not 0 < width <= 8:
        raise ConfigError(f"JITNet: width must be above 0 and at most 8, got {width}")
    if blocks_per_stage < 1:
        raise ConfigError(f"JITNet: blocks_per_stage must be at least 1, got {blocks_per_stage}")
    if not 0 < scale <= 2:
        raise ConfigError(f"JITNet: scale must be above 0 and at most 2, got {scale}")
    if floor < 1:
        raise ConfigError(f"JITNet: min_head_channels must be at least 1, got {floor}")
