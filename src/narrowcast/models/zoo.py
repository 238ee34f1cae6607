"""Every network with a name, what it costs and what the thesis prints for it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import detection, mobilenet_v2, resnet18, segmentation

from narrowcast.models.cifar_resnet import CifarResNet
from narrowcast.models.densenet import DenseNet
from narrowcast.models.jitnet import JITNet, literal_forward
from narrowcast.models.mobilenet import MobileNetV2Student
from narrowcast.models.ressep import ResSep

NUM_CLASSES = 23  # with which tables 2.1 and 2.4 recount
FRAME_HW = (720, 1280)  # table 2.1: "a frame of 720p video"
IMAGENET_HW, CIFAR_HW = (224, 224), (32, 32)  # chapter 3
MASK_RCNN_SHORT_PX, MASK_RCNN_LONG_PX = 800, 1333  # what torchvision resizes a frame to
MASK_RCNN_PROPOSALS, MASK_RCNN_DETECTIONS = 1000, 100  # the most that torchvision keeps of a frame


@dataclass(frozen=True, slots=True, kw_only=True)
class ThesisFigures:
    """A row of the thesis in absolute numbers; `params` is None where the table has none."""

    table: str
    row: str
    params: float | None
    cost: float
    unit: Literal["MAC", "2xMAC"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A named network.

    Attributes:
        name: in the zoo and on the command line.
        build: builds it with fresh weights; cheap under `torch.device("meta")`.
        input_size_hw: the frame that it is counted on.
        run: what is counted, as `run(net, images)`.
        thesis: the figures that the thesis prints for this network.
    """

    name: str
    build: Callable[[], nn.Module]
    input_size_hw: tuple[int, int] = FRAME_HW
    run: Callable[[Any, Tensor], Any] = lambda net, images: net(images)
    thesis: ThesisFigures | None = None


def maskrcnn_at_most(net: detection.MaskRCNN, images: Float[Tensor, "1 3 h w"]) -> None:
    """Run the parts of a Mask R-CNN as often as the busiest frame makes it: 1,000 proposals and 100 detections.

    For counting on the meta device, where the network itself cannot run: what it does depends on what it finds.
    """
    features = net.backbone(images.new_empty(1, 3, *_maskrcnn_size(images)))
    channels = features["0"].shape[1]
    boxes = images.new_empty(MASK_RCNN_PROPOSALS, channels, 7, 7)
    masks = images.new_empty(MASK_RCNN_DETECTIONS, channels, 14, 14)
    parts, heads = cast(Any, net), cast(Any, net.roi_heads)
    parts.rpn.head(list(features.values()))
    heads.box_predictor(heads.box_head(boxes))
    heads.mask_predictor(heads.mask_head(masks))


def describe(entry: Entry, *, count_macs: Callable[..., int]) -> dict[str, Any]:
    """The entry as `narrowcast zoo --json` prints it: name, params, macs, input_size_hw, thesis. Nothing is computed.

    Args:
        entry: of `ZOO`.
        count_macs: `narrowcast.metrics.cost.count_macs`.
    """
    with torch.device("meta"):
        net = entry.build().eval()
        macs = count_macs(partial(entry.run, net), torch.empty(1, 3, *entry.input_size_hw))
    return {
        "name": entry.name,
        "params": sum(parameter.numel() for parameter in net.parameters()),
        "macs": macs,
        "input_size_hw": list(entry.input_size_hw),
        "thesis": asdict(entry.thesis) if entry.thesis else None,
    }


def _maskrcnn_size(images: Tensor) -> tuple[int, int]:
    """The size that torchvision resizes and pads a frame to."""
    short, long = sorted(images.shape[-2:])
    factor = min(MASK_RCNN_SHORT_PX / short, MASK_RCNN_LONG_PX / long)
    height, width = (32 * -(-int(side * factor) // 32) for side in images.shape[-2:])
    return height, width


def _jitnet(name: str, thesis: ThesisFigures, **options: Any) -> Entry:
    # the order of the thesis, so that the counts compare; `JITNet.forward` does fewer
    return Entry(name=name, build=partial(JITNet, NUM_CLASSES, **options), run=literal_forward, thesis=thesis)


def _mobilenet(name: str, thesis: ThesisFigures, *, output_stride: int) -> Entry:
    build = partial(MobileNetV2Student, NUM_CLASSES, output_stride=output_stride)
    return Entry(name=name, build=build, thesis=thesis)


def _torchvision(name: str, constructor: Callable[..., nn.Module], **options: Any) -> Entry:
    return Entry(name=name, build=partial(constructor, weights=None, weights_backbone=None), **options)


def _table_2_4(row: str, gflops: float) -> ThesisFigures:
    return ThesisFigures(table="2.4", row=row, params=None, cost=gflops * 1e9, unit="2xMAC")


def _ressep(letter: str, *, depth: int, width: float, params: float, cost: float) -> Entry:
    thesis = ThesisFigures(table="3.1", row=f"ResSep-{letter}", params=params * 1e6, cost=cost * 1e6, unit="MAC")
    build = partial(ResSep, depth=depth, width=width)
    return Entry(name=f"ressep-{letter.lower()}", build=build, input_size_hw=IMAGENET_HW, thesis=thesis)


def _resnet(num_layers: int, params: float, cost: float) -> Entry:
    thesis = table_3_3(f"ResNet-{num_layers}", params=params, cost=cost)
    return Entry(
        name=f"resnet-{num_layers}", build=partial(CifarResNet, num_layers), input_size_hw=CIFAR_HW, thesis=thesis
    )


def _densenet(num_layers: int, params: float, cost: float) -> Entry:
    thesis = table_3_3(f"DenseNet-d{num_layers}", params=params, cost=cost)
    return Entry(
        name=f"densenet-d{num_layers}", build=partial(DenseNet, num_layers), input_size_hw=CIFAR_HW, thesis=thesis
    )


def table_3_3(row: str, *, params: float, cost: float) -> ThesisFigures:
    """A row of table 3.3, in millions; its "MADDs" are 2 × multiply-adds (recounted)."""
    return ThesisFigures(table="3.3", row=row, params=params * 1e6, cost=cost * 1e6, unit="2xMAC")


RESNET_18 = ThesisFigures(table="3.1", row="ResNet-18", params=11.69e6, cost=1800e6, unit="MAC")

ZOO: tuple[Entry, ...] = (
    _jitnet("jitnet", ThesisFigures(table="2.1", row="JITNet", params=3e6, cost=15.2e9, unit="2xMAC")),
    _jitnet("jitnet-w0.5", _table_2_4("Width 0.5", 11.8), width=0.5),
    _jitnet("jitnet-w2.0", _table_2_4("Width 2.0", 47.9), width=2.0),
    _jitnet("jitnet-noskip", _table_2_4("Skip No", 14.3), skips=False),
    _jitnet("jitnet-s0.5", _table_2_4("Scale 0.5", 4.6), scale=0.5),
    _jitnet("jitnet-s0.75", _table_2_4("Scale 0.75", 10.3), scale=0.75),
    _mobilenet("mobilenetv2-os8", _table_2_4("MobileNet output stride 8", 60.3), output_stride=8),
    _mobilenet("mobilenetv2-os16", _table_2_4("MobileNet output stride 16", 18.3), output_stride=16),
    _torchvision("maskrcnn", detection.maskrcnn_resnet50_fpn, run=maskrcnn_at_most),
    _torchvision("maskrcnn-v2", detection.maskrcnn_resnet50_fpn_v2, run=maskrcnn_at_most),
    _torchvision("deeplabv3-mnv3", segmentation.deeplabv3_mobilenet_v3_large),
    _torchvision("lraspp", segmentation.lraspp_mobilenet_v3_large),
    _ressep("A", depth=2, width=0.5, params=1.96, cost=181),
    _ressep("B", depth=3, width=0.5, params=2.68, cost=290),
    _ressep("C", depth=2, width=0.75, params=3.98, cost=380),
    _ressep("D", depth=3, width=0.75, params=5.58, cost=620),
    _ressep("E", depth=3, width=1.0, params=9.53, cost=1060),
    _resnet(14, params=0.17, cost=52),
    _resnet(20, params=0.27, cost=81),
    _resnet(26, params=0.37, cost=109),
    _resnet(32, params=0.47, cost=137),
    _resnet(56, params=0.85, cost=250),
    _resnet(110, params=1.73, cost=505),
    _resnet(164, params=2.60, cost=760),
    _densenet(3, params=0.36, cost=212),
    _densenet(4, params=0.58, cost=333),
    _densenet(6, params=1.19, cost=655),
    _densenet(8, params=2.00, cost=1080),
    _densenet(10, params=3.03, cost=1619),
    _densenet(12, params=4.27, cost=2260),
    _densenet(14, params=5.72, cost=3008),
    Entry(name="resnet18", build=resnet18, input_size_hw=IMAGENET_HW, thesis=RESNET_18),
    # torchvision has MobileNetV2; table 3.1's MobileNet (4.2 M, 569 M multiply-adds) is the first version
    Entry(name="mobilenetv2", build=mobilenet_v2, input_size_hw=IMAGENET_HW),
)
