"""torchvision's semantic segmenters as teachers: VOC's 21 classes, trained on COCO images."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchvision.models import WeightsEnum, segmentation

from narrowcast.core.errors import ConfigError, did_you_mean
from narrowcast.models import hub_weights, pixels
from narrowcast.models.taxonomy import VOC
from narrowcast.models.teacher import TeacherLabels

SHORT_SIDE = 520  # torchvision's own, what the weights were trained at
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Published:
    """A network of torchvision's, how it is built, and its published weights."""

    build: Callable[..., nn.Module]
    weights: WeightsEnum
    arguments: dict[str, Any]


_AUX = {"weights_backbone": None, "num_classes": len(VOC), "aux_loss": True}
NETWORKS = {
    "deeplabv3-mnv3": Published(
        segmentation.deeplabv3_mobilenet_v3_large,
        segmentation.DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1,
        _AUX,
    ),
    "deeplabv3-r50": Published(
        segmentation.deeplabv3_resnet50, segmentation.DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1, _AUX
    ),
    "fcn-r50": Published(segmentation.fcn_resnet50, segmentation.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1, _AUX),
    "lraspp-mnv3": Published(
        segmentation.lraspp_mobilenet_v3_large,
        segmentation.LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1,
        {"weights_backbone": None, "num_classes": len(VOC)},
    ),
}


@final
class SemanticTeacher:
    """A torchvision segmenter; the image is shown with its short side at 520 pixels, as torchvision does.

    Args:
        name: one of `NETWORKS`.
        max_side: longest side that the network sees, in pixels.
        weights: a file; None looks where torch.hub keeps torchvision's.

    Raises:
        WeightsError: the weights are missing or do not fit.
        ConfigError: an unknown name, or `max_side` is too small.
    """

    classes = VOC
    runs_in_torch = True

    def __init__(self, name: str, *, device: torch.device, max_side: int = 2048, weights: Path | None = None) -> None:
        if name not in NETWORKS:
            raise ConfigError(f"no segmenter is called '{name}'" + (did_you_mean(name, NETWORKS) or f": {[*NETWORKS]}"))
        if max_side < 32:
            raise ConfigError(f"teacher.max_side = {max_side}: expected at least 32 pixels")
        published = NETWORKS[name]
        path = weights or hub_weights.find_weights(published.weights.url)
        network = published.build(weights=None, **published.arguments)
        hub_weights.load_weights(network, path)
        network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        # the auxiliary head is for training only, and the resize of all 21 planes to full size is not needed
        self._backbone: nn.Module = network.get_submodule("backbone")
        self._head: nn.Module = network.get_submodule("classifier")
        self._mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=device).view(3, 1, 1)
        self._device, self._max_side = device, max_side

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        return self.answer_all([image_rgb])[0]

    @torch.inference_mode()
    def answer_all(self, images_rgb: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[TeacherLabels]:
        """Labels of images of one size, in one call of the network."""
        height, width = images_rgb[0].shape[:2]
        scale = min(SHORT_SIDE / min(height, width), self._max_side / max(height, width))
        size_wh = pixels.scaled_size((width, height), scale)
        images = torch.cat([pixels.to_images(image_rgb, size_wh, self._device) for image_rgb in images_rgb])
        on_cuda = self._device.type == "cuda"
        with pixels.reduced_precision(self._device) if on_cuda else nullcontext():
            logits = self._logits((images - self._mean) / self._std)
        return [TeacherLabels(pixels.labels_at(planes, (height, width))) for planes in logits]

    def _logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h2 w2"]:
        features = self._backbone(images)
        return self._head(features.get("out", features))  # LR-ASPP's head takes two
