"""What JITNet costs at 1280×720 beside torchvision's networks, and what the order of its last two operations costs.

Everything is timed in turns (A B C A B C ...) so that a slower minute of the machine falls on all alike; times are
medians over the turns, and only ratios within a run mean anything.

- "inference" and "update" are the library's own code (`stream.learner`), bfloat16 where the processor has it: from an
  8-bit image to a label map, and from an 8-bit image to changed weights.
- "literal" is the order of the thesis: features resized to full size, the 1×1 there, an arg max over the class axis.
- torchvision's networks are timed from a float tensor to their raw output: without normalisation, without an arg max.
  With random weights Mask R-CNN finds little or nothing, so that its mask head hardly runs: a lower bound.
"""

import copy
import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import record
import torch
from torch import Tensor, nn
from torchvision.models import detection, segmentation

from narrowcast.core.runtime import compute_dtype, seed_everything
from narrowcast.models.jitnet import JITNet, literal_forward
from narrowcast.stream.learner import Learner, LearnerConfig, Sample
from narrowcast.stream.loss import pixel_loss

NUM_CLASSES, HEAD_FLOOR = 4, 32  # as a stream takes them out of the pretrained student
SIZE_WH, QUICK_WH = (1280, 720), (160, 96)
TURN_S, MAX_CALLS = 0.4, 5  # a turn calls fast ones several times, after one call that is not counted


@dataclass(slots=True)
class Row:
    """Something timed: `call` does it once."""

    name: str
    call: Callable[[], Any]
    dtype: str
    note: str = ""


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--turns", type=int, default=11)
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    seed_everything(0)
    rows = make_rows(QUICK_WH if arguments.quick else SIZE_WH, device)
    times = measure(rows, turns=2 if arguments.quick else arguments.turns, device=device)
    result = report(rows, times, arguments)
    print(record.table(["", "ms", "dtype"], [[row["name"], row["median_ms"], row["dtype"]] for row in result["rows"]]))
    print(record.table(["ratio", "", "bar"], [[bar["name"], bar["value"], bar["bar"]] for bar in result["ratios"]]))
    record.write(arguments.out, "jitnet-cuda" if device.type == "cuda" else "jitnet", result, device=device)
    return 0 if arguments.quick or all(bar["is_met"] is not False for bar in result["ratios"]) else 1


# --------------------------------------------------------------------------------------------------- what is timed


def make_rows(size_wh: tuple[int, int], device: torch.device) -> list[Row]:
    """All that is timed, at one frame."""
    rng = np.random.default_rng(0)
    image_rgb = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES, image_rgb.shape[:2], dtype=np.uint8)
    sample = Sample(image_rgb, labels, np.ones_like(labels))
    net = JITNet(NUM_CLASSES, min_head_channels=HEAD_FLOOR)
    dtypes = {"": compute_dtype(device), " fp32": torch.float32}
    rows = []
    for suffix, dtype in dtypes.items():
        rows += _ours(net, sample, device, dtype, suffix)
    rows += _literal(net, sample, device, torch.float32, torch.contiguous_format, " fp32")
    if dtypes[""] != torch.float32:
        rows += _literal(net, sample, device, dtypes[""], torch.channels_last, ", our dtype and layout")
    if device.type == "cuda":
        rows += _without_graph(net, sample, device, dtypes[""])
    return rows + _torchvision(image_rgb, device, dtypes[""])


def _ours(net: JITNet, sample: Sample, device: torch.device, dtype: torch.dtype, suffix: str) -> list[Row]:
    learner = Learner(copy.deepcopy(net), LearnerConfig(), device=device)
    learner.dtype = dtype
    updating = Learner(copy.deepcopy(net), LearnerConfig(), device=device)
    updating.dtype = dtype
    return [
        Row(f"inference{suffix}", lambda: learner.predict(sample.image_rgb), _name(dtype)),
        Row(f"update{suffix}", lambda: updating.attempt(sample).step(), _name(dtype)),
    ]


def _without_graph(net: JITNet, sample: Sample, device: torch.device, dtype: torch.dtype) -> list[Row]:
    learner = Learner(copy.deepcopy(net), LearnerConfig(), device=device)
    learner._may_capture = False
    return [Row("inference without CUDA graph", lambda: learner.predict(sample.image_rgb), _name(dtype))]


def _literal(
    net: JITNet,
    sample: Sample,
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    suffix: str,
) -> list[Row]:
    net = copy.deepcopy(net).to(device=device, memory_format=memory_format).eval()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(net.parameters(), lr=LearnerConfig().learning_rate, fused=True)
    labels = torch.from_numpy(sample.labels).to(device).long()[None]
    weights = torch.from_numpy(sample.weights).to(device).float()[None]

    def image() -> Tensor:
        pixels = torch.from_numpy(sample.image_rgb).to(device).permute(2, 0, 1)[None]
        return pixels.to(dtype).contiguous(memory_format=memory_format).mul_(1 / 255)

    def logits() -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return literal_forward(net, image())

    def inference() -> np.ndarray:
        with torch.inference_mode():
            return logits()[0].argmax(0).to(torch.uint8).cpu().numpy()

    def update() -> float:
        loss = pixel_loss(logits().float(), labels, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return [
        Row(f"literal inference{suffix}", inference, _name(dtype)),
        Row(f"literal update{suffix}", update, _name(dtype)),
    ]


def _torchvision(image_rgb: np.ndarray, device: torch.device, dtype: torch.dtype) -> list[Row]:
    image = torch.from_numpy(image_rgb).to(device).permute(2, 0, 1).float().div_(255).contiguous()
    fresh: dict[str, Any] = {"weights": None, "weights_backbone": None}
    lraspp, deeplab = segmentation.lraspp_mobilenet_v3_large, segmentation.deeplabv3_mobilenet_v3_large
    rows = [
        _segmenter("LR-ASPP fp32", lraspp(**fresh), image, torch.float32),
        _segmenter("LR-ASPP fp32, 4 classes", lraspp(**fresh, num_classes=NUM_CLASSES), image, torch.float32),
        _segmenter("DeepLabV3-MNv3 fp32", deeplab(**fresh), image, torch.float32),
    ]
    if dtype != torch.float32:
        rows += [
            _segmenter("LR-ASPP, our dtype and layout", lraspp(**fresh), image, dtype),
            _segmenter("DeepLabV3-MNv3, our dtype and layout", deeplab(**fresh), image, dtype),
        ]
    if max(image.shape) <= max(QUICK_WH):  # it would enlarge the frame
        fresh |= {"min_size": min(QUICK_WH), "max_size": max(QUICK_WH)}
    return [*rows, _mask_rcnn(detection.maskrcnn_resnet50_fpn(**fresh), image)]


def _segmenter(name: str, net: nn.Module, image: Tensor, dtype: torch.dtype) -> Row:
    layout = torch.contiguous_format if dtype == torch.float32 else torch.channels_last
    net = net.to(device=image.device, memory_format=layout).eval()  # type: ignore[call-overload]
    images = image[None].contiguous(memory_format=layout)

    def call() -> Any:
        with torch.inference_mode(), torch.autocast(image.device.type, dtype, enabled=dtype != torch.float32):
            return net(images)["out"]

    return Row(name, call, _name(dtype))


def _mask_rcnn(net: nn.Module, image: Tensor) -> Row:
    net = net.to(image.device).eval()

    def call() -> Any:
        with torch.inference_mode():
            return net([image])

    row = Row("Mask R-CNN R50-FPN fp32", call, "float32")
    detections = len(call()[0]["scores"])
    row.note = f"random weights: {detections} detections, so that its mask head runs for as many: a lower bound"
    return row


# --------------------------------------------------------------------------------------------------- how it is timed


def measure(rows: list[Row], *, turns: int, device: torch.device) -> dict[str, list[float]]:
    """For each row the median time of each of its turns, in milliseconds."""
    calls = {}
    for row in rows:
        row.call()
        calls[row.name] = max(1, min(MAX_CALLS, int(TURN_S * 1e3 / _timed_ms(row.call, device))))
    times: dict[str, list[float]] = {row.name: [] for row in rows}
    for _ in range(turns):
        for row in rows:
            if calls[row.name] > 1:
                row.call()  # what ran before it has emptied the caches
            times[row.name].append(statistics.median(_timed_ms(row.call, device) for _ in range(calls[row.name])))
    return times


def _timed_ms(call: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3


# ------------------------------------------------------------------------------------------------- what comes of it


def report(rows: list[Row], times: dict[str, list[float]], arguments: Namespace) -> dict[str, Any]:
    """Medians, ratios, and the bars that they must clear (None: told, not asked for)."""
    median_ms = {name: statistics.median(values) for name, values in times.items()}
    size_wh = QUICK_WH if arguments.quick else SIZE_WH
    return {
        "network": {"name": "JITNet, m = 0.5", "num_classes": NUM_CLASSES, "min_head_channels": HEAD_FLOOR},
        "size_wh": list(size_wh),
        "turns": 2 if arguments.quick else arguments.turns,
        "quick": arguments.quick,
        "rows": [
            {
                "name": row.name,
                "dtype": row.dtype,
                "median_ms": round(median_ms[row.name], 3),
                "least_ms": round(min(times[row.name]), 3),
                "most_ms": round(max(times[row.name]), 3),
                "note": row.note,
            }
            for row in rows
        ],
        "ratios": [_ratio(*pair, median_ms, asked=arguments.device == "cpu") for pair in _pairs(median_ms)],
    }


def _pairs(median_ms: dict[str, float]) -> list[tuple[str, str, str, float | None]]:
    """(numerator, denominator, relation, bar); the bars are for two CPU cores."""
    pairs = [
        ("LR-ASPP fp32", "inference", ">=", 8.0),
        ("Mask R-CNN R50-FPN fp32", "inference", ">=", 80.0),
        ("update", "inference", "<=", 5.0),
        ("literal inference fp32", "inference", ">=", 2.2),
        ("literal update fp32", "update", ">=", 2.2),
        # the gain of the order alone, and of the networks alone: the same precision on both sides
        ("literal inference fp32", "inference fp32", ">=", None),
        ("literal update fp32", "update fp32", ">=", None),
        ("literal inference, our dtype and layout", "inference", ">=", None),
        ("literal update, our dtype and layout", "update", ">=", None),
        ("update fp32", "inference fp32", "<=", None),
        ("LR-ASPP fp32", "inference fp32", ">=", None),
        ("LR-ASPP fp32, 4 classes", "inference fp32", ">=", None),
        ("LR-ASPP, our dtype and layout", "inference", ">=", None),
        ("DeepLabV3-MNv3 fp32", "inference fp32", ">=", None),
        ("DeepLabV3-MNv3, our dtype and layout", "inference", ">=", None),
        ("Mask R-CNN R50-FPN fp32", "inference fp32", ">=", None),
        ("inference without CUDA graph", "inference", ">=", None),
    ]
    return [pair for pair in pairs if pair[0] in median_ms and pair[1] in median_ms]


def _ratio(
    above: str, below: str, relation: str, bar: float | None, median_ms: dict[str, float], *, asked: bool
) -> dict[str, Any]:
    value = median_ms[above] / median_ms[below]
    is_met = value >= (bar or 0) if relation == ">=" else value <= (bar or 0)
    has_bar = asked and bar is not None
    return {
        "name": f"{above} / {below}",
        "value": round(value, 2),
        "bar": f"{relation} {bar}" if has_bar else None,
        "is_met": is_met if has_bar else None,
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    record.main(main)
