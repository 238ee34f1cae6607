"""The thesis's teacher: Mask R-CNN on COCO's 80 classes, from torchvision."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from narrowcast.core.errors import ConfigError
from narrowcast.models import hub_weights, pixels
from narrowcast.models.taxonomy import COCO
from narrowcast.models.teacher import TeacherLabels

WEIGHTS = {
    "v1": detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    "v2": detection.MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
}
SHORT_SIDE, LONG_SIDE = 800, 1333  # torchvision's own, what the weights were trained at


@final
class MaskRCNNTeacher:
    """Instances above `confidence`, painted so that the surer one wins where two overlap, and their boxes.

    Args:
        version: "v1" is maskrcnn_resnet50_fpn (34.6 mask AP on COCO by torchvision's count), "v2" its successor (41.8).
        confidence: least score of an instance, ours; 0.5 is where torchvision's own examples cut.
        max_side: longest side that the network sees, in pixels; boxes and masks come back at the image's size.
        weights: a file; None looks where torch.hub keeps torchvision's.

    Raises:
        WeightsError: the weights are missing or do not fit.
        ConfigError: `confidence` is not in [0, 1) or `max_side` is too small.
    """

    classes = COCO
    runs_in_torch = True

    def __init__(
        self,
        version: Literal["v1", "v2"] = "v1",
        *,
        device: torch.device,
        confidence: float = 0.5,
        max_side: int = LONG_SIDE,
        weights: Path | None = None,
    ) -> None:
        if not 0 <= confidence < 1:
            raise ConfigError(f"teacher.confidence = {confidence}: expected a value in [0, 1)")
        if max_side < 32:
            raise ConfigError(f"teacher.max_side = {max_side}: expected at least 32 pixels")
        path = weights or hub_weights.find_weights(WEIGHTS[version].url)
        network = build_network(version, confidence=confidence, max_side=max_side)
        hub_weights.load_weights(network, path)
        if device.type == "cuda":
            network.backbone = _HalfBackbone(network.backbone)
        self._network, self._device = network.to(device).eval(), device
        own = {name: ix for ix, name in enumerate(COCO)}
        self._table = torch.tensor([own.get(name, 0) for name in WEIGHTS[version].meta["categories"]], device=device)

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        return self.answer_all([image_rgb])[0]

    @torch.inference_mode()
    def answer_all(self, images_rgb: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[TeacherLabels]:
        """Labels of images of one size, in one call of the network."""
        height, width = images_rgb[0].shape[:2]
        images = [pixels.to_images(image_rgb, (width, height), self._device)[0] for image_rgb in images_rgb]
        return [self._answer(found) for found in self._network(images)]

    def _answer(self, found: dict[str, Tensor]) -> TeacherLabels:
        class_ix = self._table[found["labels"]]
        kept = class_ix > 0  # drops the numbers that COCO never gave to a class
        labels = paint(found["masks"][:, 0] > 0.5, class_ix, kept)
        return TeacherLabels(labels, _boxes(found["boxes"][kept]))


def build_network(version: Literal["v1", "v2"], *, confidence: float, max_side: int) -> detection.MaskRCNN:
    """The untrained network of `version`.

    The threshold is given to the network: boxes below it are dropped before their masks are computed, and since
    suppression goes from sure to unsure, what is above it comes out the same.
    """
    sizes = {"min_size": SHORT_SIDE, "max_size": max_side, "box_score_thresh": confidence}
    if version == "v2":
        return detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **sizes)
    # torchvision's builder has these norms only where it loads weights itself; COCO_V1 was trained with eps = 0
    network = detection.MaskRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None), 91, **sizes)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    return network


def paint(
    masks: Bool[Tensor, "n h w"], class_ix: Int[Tensor, " n"], kept: Bool[Tensor, " n"]
) -> UInt8[np.ndarray, "h w"]:
    """One label map from instances in the order of falling confidence; those not `kept` are left out."""
    labels = masks.new_zeros(masks.shape[1:], dtype=torch.uint8)
    for mask, label in zip(masks[kept].flip(0), class_ix[kept].flip(0).to(torch.uint8), strict=True):
        labels = torch.where(mask, label, labels)
    return labels.cpu().numpy()


def _boxes(boxes_xyxy: Float[Tensor, "n 4"]) -> Float32[np.ndarray, "n 4"]:
    return boxes_xyxy.float().cpu().numpy()


class _HalfBackbone(nn.Module):
    """The backbone at reduced precision. Only it: boxes decoded in bfloat16 are off by up to 4 pixels at 1,000."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, backbone.out_channels

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> "OrderedDict[str, Tensor]":
        with pixels.reduced_precision(images.device):
            features = self.backbone(images)
        return OrderedDict((name, feature.float()) for name, feature in features.items())
