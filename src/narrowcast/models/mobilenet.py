"""MobileNetV2 as a student: the off-the-shelf comparison of section 2.4.7 and table 2.4.

torchvision's features up to the last inverted residual, dilated so that they end at 1/8 or 1/16 of the image, and the
head of DeepLab's MobileNetV2: 1×1 to 256 channels beside the image's mean, 1×1 over both, 1×1 logits. The thesis prints
no more than the output stride and the operations; this head recounts them (60.2 and 18.3 GFLOPs of 60.3 and 18.3).
"""

from typing import Any, ClassVar, cast, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from narrowcast.core.errors import ConfigError, ShapeError
from narrowcast.models.jitnet import CLASSIFIER_STD, MIN_SIDE, resize, size_of

IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB: what torchvision's weights were trained with
IMAGE_STD = (0.229, 0.224, 0.225)
FEATURE_CHANNELS = 320  # after the last inverted residual
HEAD_CHANNELS = 256  # recounted
OUTPUT_STRIDES = (8, 16)  # section 2.4.7


@final
class MobileNetV2Student(nn.Module):
    """A student: images (b, 3, h, w) in [0, 1] to logits (b, classes, h, w)."""

    architecture: ClassVar[str] = "mobilenetv2"
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, num_classes: int, *, output_stride: int = 16) -> None:
        """Wire the network; no weights are downloaded.

        Args:
            num_classes: background included.
            output_stride: 8 or 16 pixels of the image for one of the logits before the last resize.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"MobileNetV2: num_classes counts the background and is at least 2, got {num_classes}")
        if output_stride not in OUTPUT_STRIDES:
            raise ConfigError(f"MobileNetV2: output_stride must be 8 or 16, got {output_stride}")
        self.num_classes = num_classes
        self.output_stride = output_stride
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1), persistent=False)
        self.backbone = mobilenet_v2(weights=None).features[:-1]  # all but the 1×1 to 1280 channels
        _dilate(self.backbone, output_stride=output_stride)
        self.local = _pointwise(FEATURE_CHANNELS, HEAD_CHANNELS)
        # without batch norm: it sees one value a channel and an image
        self.context = nn.Sequential(nn.Conv2d(FEATURE_CHANNELS, HEAD_CHANNELS, 1), nn.ReLU(inplace=True))
        self.project = _pointwise(2 * HEAD_CHANNELS, HEAD_CHANNELS)
        self.classifier = nn.Conv2d(HEAD_CHANNELS, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=CLASSIFIER_STD)
        nn.init.zeros_(cast(Tensor, self.classifier.bias))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again: `MobileNetV2Student.from_config(net.config)`."""
        return {"num_classes": self.num_classes, "output_stride": self.output_stride}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MobileNetV2Student":
        """A freshly initialised network of this `config`."""
        return cls(**config)

    def coarse_logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h2 w2"]:
        """The logits before the last resize, at 1 / `output_stride` of the size, rounded up.

        Raises:
            ShapeError: `images` is not (b, 3, h, w), or a side is under 16 pixels.
        """
        _check_images(images)
        features = self.backbone((images - self.image_mean) / self.image_std)
        local = self.local(features)
        context = self.context(F.adaptive_avg_pool2d(features, 1)).expand_as(local)
        return self.classifier(self.project(torch.cat([local, context], dim=1)))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        return resize(self.coarse_logits(images), size_of(images))


def _pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _dilate(backbone: nn.Module, *, output_stride: int) -> None:
    """Turn the strides past `output_stride` into dilations, in place: same weights and field of view, finer grid."""
    stride, dilation = 1, 1
    for conv in backbone.modules():
        if not isinstance(conv, nn.Conv2d) or conv.kernel_size == (1, 1):
            continue
        # a convolution that loses its stride still reads the grid before it, so its own dilation is the old one
        conv.dilation = (dilation, dilation)
        conv.padding = (dilation, dilation)
        if conv.stride == (2, 2) and stride == output_stride:
            conv.stride = (1, 1)
            dilation *= 2
        stride *= conv.stride[0]


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ShapeError(f"MobileNetV2 takes images of shape (b, 3, h, w), got {tuple(images.shape)}")
    if min(images.shape[-2:]) < MIN_SIDE:
        shape = f"{images.shape[-1]}×{images.shape[-2]}"
        raise ShapeError(f"MobileNetV2 needs images of at least {MIN_SIDE} pixels a side, got {shape}")
