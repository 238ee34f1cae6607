"""The embedded teacher's network: EfficientNet-Lite0 at stride 16 under a small decoder (ours; docs/model-card.md)."""

from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.models.efficientnet_lite import EfficientNetLite0

WIDTH = 128  # channels at stride 16
FINE_WIDTH = 48  # channels at strides 8 and 4
RATES = (1, 3, 6)


def _conv(
    inputs: int, outputs: int, kernel: int = 1, *, dilation: int = 1, is_depthwise: bool = False
) -> nn.Sequential:
    groups = inputs if is_depthwise else 1
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.01),
        nn.ReLU(inplace=True),
    )


class _Refine(nn.Module):
    """Brings coarse features to the size of finer ones and mixes the two: 1×1 on each, sum, depthwise 5×5, 1×1."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.from_coarse = nn.Conv2d(coarse, outputs, 1)
        self.from_fine = nn.Conv2d(fine, outputs, 1)
        self.mix = nn.Sequential(_conv(outputs, outputs, 5, is_depthwise=True), _conv(outputs, outputs))

    def forward(self, coarse: Float[Tensor, "b c h w"], fine: Float[Tensor, "b d h2 w2"]) -> Tensor:
        upsampled = F.interpolate(self.from_coarse(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.mix(upsampled + self.from_fine(fine))


@final
class LiteSegmenter(nn.Module):
    """RGB images in [0, 1] to logits; a `Student` by contract, used as the teacher that needs no other file.

    The last two trunk features (112 and 320 channels, stride 16) are reduced to 128, seen at three dilation rates and
    gated by the image's mean; two refinements bring in the features of strides 8 and 4.
    """

    architecture: ClassVar[str] = "lite-segmenter"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.trunk = EfficientNetLite0(output_stride=16)
        c4, c8, c16, c32 = EfficientNetLite0.channels
        self.reduce = _conv(c16 + c32, WIDTH)
        self.contexts = nn.ModuleList(_conv(WIDTH, WIDTH, 3, dilation=rate, is_depthwise=True) for rate in RATES)
        self.gate = nn.Conv2d(WIDTH, WIDTH, 1)
        self.merge = _conv(WIDTH * len(RATES), WIDTH)
        self.refine8 = _Refine(WIDTH, c8, FINE_WIDTH)
        self.refine4 = _Refine(FINE_WIDTH, c4, FINE_WIDTH)
        self.classify8 = nn.Conv2d(WIDTH, num_classes, 1)
        self.classify4 = nn.Conv2d(FINE_WIDTH, num_classes, 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build the network again."""
        return {"num_classes": self.num_classes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LiteSegmenter":
        """The network that `config` describes, freshly initialised."""
        return cls(**config)

    def coarse_logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h4 w4"]:
        """Logits at a quarter of the size."""
        x4, x8, x16, x32 = self.trunk(images)
        x = self.reduce(torch.cat([x16, x32], dim=1))
        x = self.merge(torch.cat([context(x) for context in self.contexts], dim=1))
        x = x * torch.sigmoid(self.gate(x.mean((-2, -1), keepdim=True)))
        fine = self.refine4(self.refine8(x, x8), x4)
        coarse = F.interpolate(self.classify8(x), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return coarse + self.classify4(
            fine
        )  # what it is comes from the wide features, where it ends from the fine ones

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h w"]:
        return F.interpolate(self.coarse_logits(images), size=images.shape[-2:], mode="bilinear", align_corners=False)
