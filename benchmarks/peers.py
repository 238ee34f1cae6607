"""Segmenters that a user would choose today, alone on every frame: their cost, and how good they are where weights are.

Cost is one call on one core, all in turns, and its share of one call of the evaluation's teacher, as the accuracy-cost
picture has it. Those with weights get a frame of a stream and give its labels; of the others only the architecture can
be had, so a random network is timed from a tensor of the student's size to its raw output, without decoding of boxes
and masks: a lower bound. Accuracy is that of `results/evaluation.json`, pooled mean IoU against the labels that the
evaluation's teacher gives, on every `--every`-th frame of the same streams at the same size.

ultralytics is timed where it can be imported; it is no dependency: `pip install --no-deps --target DIR ultralytics
ultralytics-thop`, and DIR in PYTHONPATH.
"""

import importlib.util
import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import torch
from evaluation import CLASSES, SIZE, TEACHER, sources
from torch import nn
from torchvision.models import segmentation

from narrowcast.core.runtime import seed_everything
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.pretrained import STUDENT, load_shipped
from narrowcast.models.teacher import Teacher
from narrowcast.stream.clips import Clip, working_size
from narrowcast.stream.data_sets import open_clips
from narrowcast.stream.label_cache import cache_folder, label_clip
from narrowcast.stream.learner import Learner, LearnerConfig
from narrowcast.stream.targets import resize_labels

FRAME_WH, STUDENT_WH = (768, 576), (384, 288)  # as the stream vtest
WITH_WEIGHTS = ("deeplab-voc", "deeplab-voc-half", "embedded")
TORCHVISION = {
    "lraspp_mobilenet_v3_large": segmentation.lraspp_mobilenet_v3_large,
    "deeplabv3_mobilenet_v3_large": segmentation.deeplabv3_mobilenet_v3_large,
}
ULTRALYTICS = ("yolo11n-seg", "yolo26n-seg")
NUM_VOC = 21


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that is timed; `segmenter` where it has weights."""

    name: str
    call: Callable[[], Any]
    what: str
    segmenter: Teacher | None = None


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--every", type=int, default=12, help="frames from one that is scored to the next")
    parser.add_argument(
        "--work", type=Path, default=record.REPOSITORY / "build" / "evaluation", help="of evaluation.py"
    )
    parser.add_argument("--cache", type=Path, help="the teacher's labels (default: labels in --work)")
    parser.add_argument("--streams", help="as of evaluation.py")
    parser.add_argument("--cost-only", action="store_true", help="keep the accuracy of the result that is there")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    seed_everything(0)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (*FRAME_WH[::-1], 3), dtype=np.uint8)
    teacher = _load(TEACHER, device, arguments.threads)
    made = peers(frame, device, arguments.threads)
    timed = [Peer(TEACHER, lambda: teacher(frame), "the evaluation's teacher"), *made]
    times_ms = in_turns(timed, turns=2 if arguments.quick else arguments.turns)
    before = record.read(arguments.out, "peers").get("peers", {})
    result = {}
    for peer in made:
        shares = [own / other for own, other in zip(times_ms[peer.name], times_ms[TEACHER], strict=True)]
        result[peer.name] = {"what": peer.what, "median_ms": statistics.median(times_ms[peer.name]),
                             "share_of_teacher": statistics.median(shares),
                             "accuracy": before.get(peer.name, {}).get("accuracy")}  # fmt: skip
    if not arguments.cost_only:
        found = accuracy({peer.name: peer.segmenter for peer in made if peer.segmenter}, teacher, arguments)
        for name, scores in found.items():
            result[name]["accuracy"] = scores
    about = {"teacher": TEACHER, "teacher_ms": statistics.median(times_ms[TEACHER]), "frame_wh": list(FRAME_WH),
             "student_wh": list(STUDENT_WH), "every": arguments.every, "quick": arguments.quick}  # fmt: skip
    lines = [
        [name, row["median_ms"], row["share_of_teacher"], (row["accuracy"] or {}).get("miou"), row["what"]]
        for name, row in result.items()
    ]
    print(record.table(["", "ms", "share of the teacher", "mIoU", "what"], lines))
    record.write(arguments.out, "peers", about | {"peers": result}, device=device)
    return 0


def _load(name: str, device: torch.device, num_threads: int) -> Teacher:
    return load_teacher(record.card(name) if name.startswith("deeplab-voc") else name,
                        device=device, num_threads=num_threads)  # fmt: skip


def peers(frame: np.ndarray, device: torch.device, num_threads: int) -> list[Peer]:
    """Our student for comparison, segmenters with weights, then architectures."""
    student, _ = load_shipped(STUDENT)
    learner, small = Learner(student, LearnerConfig(), device=device), cv2.resize(frame, STUDENT_WH)
    found = [Peer("student", lambda: learner.predict(small), "ours, 21 classes, from an image to labels")]
    for name in WITH_WEIGHTS:
        segmenter = _load(name, device, num_threads)
        found.append(Peer(name, lambda segmenter=segmenter: segmenter(frame), "from an image to labels", segmenter))
    images = torch.zeros(1, 3, *STUDENT_WH[::-1], device=device).contiguous(memory_format=torch.channels_last)
    nets: dict[str, nn.Module] = {
        name: build(weights=None, weights_backbone=None, num_classes=NUM_VOC) for name, build in TORCHVISION.items()
    }
    if importlib.util.find_spec("ultralytics") is not None:
        from ultralytics.nn.tasks import SegmentationModel  # pyright: ignore[reportMissingImports]

        nets |= {name: SegmentationModel(f"{name}.yaml", verbose=False) for name in ULTRALYTICS}
    for name, net in nets.items():
        net = net.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        found.append(Peer(name, lambda net=net: _forward(net, images), "architecture only, raw output, a lower bound"))
    return found


@torch.inference_mode()
def _forward(net: nn.Module, images: torch.Tensor) -> Any:
    return net(images)


def in_turns(timed: list[Peer], *, turns: int) -> dict[str, list[float]]:
    """Milliseconds of each, A B C A B C …; the better of two calls in each turn, after one that is not counted."""
    times_ms: dict[str, list[float]] = {peer.name: [] for peer in timed}
    for turn in range(turns + 1):
        for peer in timed:
            calls = []
            for _ in range(2):
                started = time.perf_counter()
                peer.call()
                calls.append((time.perf_counter() - started) * 1e3)
            if turn:
                times_ms[peer.name].append(min(calls))
    return times_ms


def accuracy(segmenters: dict[str, Teacher], teacher: Teacher, arguments: Namespace) -> dict[str, dict[str, Any]]:
    """The pooled mIoU of each segmenter on every stream, against the teacher's kept labels, and its mean."""
    cache = arguments.cache or arguments.work / "labels"
    most = 8 if arguments.quick else None
    found: dict[str, dict[str, float]] = {name: {} for name in segmenters}
    for clip in open_clips(sources(arguments)):
        folder = cache_folder(cache, TEACHER, clip)
        for _ in label_clip(clip, teacher, folder, max_frames=most):
            pass
        for name, score in score_clip(clip, segmenters, MaskFolderTeacher(folder), arguments.every, most).items():
            found[name][clip.name] = score
        print(clip.name, {name: round(scores[clip.name], 3) for name, scores in found.items()}, flush=True)
    return {name: {"miou": statistics.fmean(scores.values()), "streams": scores} for name, scores in found.items()}


def score_clip(
    clip: Clip, segmenters: dict[str, Teacher], kept: Teacher, every: int, most: int | None
) -> dict[str, float]:
    """Pooled mean IoU of each on one stream, at the student's size."""
    class_map = parse_classes(clip.classes or CLASSES, kept.classes)
    judge = SelectedTeacher(kept, class_map)
    chosen = {name: SelectedTeacher(one, class_map) for name, one in segmenters.items()}
    scores = {name: SegmentationScore(class_map.classes) for name in chosen}
    with clip.open(max_frames=most) as frames:
        size_wh = working_size(frames.size_wh, SIZE)
        for frame in frames:
            if frame.index % every:
                continue
            truth = resize_labels(judge(frame.image_rgb, frame_index=frame.index).labels, size_wh)
            for name, segmenter in chosen.items():
                labels = segmenter(frame.image_rgb, frame_index=frame.index).labels
                scores[name].add(resize_labels(labels, size_wh), truth)
    return {name: score.pooled or 0.0 for name, score in scores.items()}


if __name__ == "__main__":
    record.main(main)
