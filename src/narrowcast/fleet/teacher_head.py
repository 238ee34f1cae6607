"""The embedded teacher's head, taught with labels of picked frames, beside the one that ships inside.

Labels are of a stream's classes, of which one may be several of the teacher's, or none: their logits are log Σ exp over
the teacher's own, so that all of its classes stay, for other streams. Only the last layers learn.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core import checkpoint
from narrowcast.core.runtime import seed_everything
from narrowcast.fleet.retraining import Comparison, RetrainConfig, RetrainReport, labelled
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import ClassMap, SelectedTeacher
from narrowcast.models.embedded import MULTIPLE, shipped_weights
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.pixels import scaled_size
from narrowcast.models.student import save_student
from narrowcast.models.taxonomy import VOC
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.stream.learner import Learner, LearnerConfig, Sample, shrink
from narrowcast.stream.targets import resize_labels, targets

MAX_SIDE = 640  # pixels; as the teacher sees a frame


@final
class Grouped(nn.Module):
    """A teacher's network with the logits of a stream's classes; what is in none of them is background."""

    def __init__(self, net: LiteSegmenter, class_map: ClassMap, classes: Sequence[str]) -> None:
        super().__init__()
        self.net, self.groups = net, class_map.rows(classes)
        taken = {row for group in self.groups[1:] for row in group}
        self.groups[0] = [row for row in range(len(classes)) if row not in taken]

    def coarse_logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h4 w4"]:
        """Logits at a quarter of the size: softmax over them adds up the teacher's own probabilities."""
        logits = self.net.coarse_logits(images)
        return torch.stack([logits[:, group].logsumexp(1) for group in self.groups], dim=1)


def retrain_head(
    weights: Path | None,
    frames: Path,
    labels: Path,
    out: Path,
    class_map: ClassMap,
    *,
    config: RetrainConfig,
    device: torch.device,
    max_side: int = MAX_SIDE,
) -> Iterator[RetrainReport]:
    """Teach the head of the embedded teacher, or of one in a file, the labelled frames; a report a pass.

    The new teacher is written to the file `out`, which can be named wherever a teacher can.

    Raises:
        SourceError: no frame has labels.
        UsageError: the labels are of other classes than those of `class_map`.
        WeightsError: the file holds no such teacher.
    """
    seed_everything(config.seed)
    net = LiteSegmenter(len(VOC))
    with shipped_weights(weights) as path:
        tensors, _ = checkpoint.load(path)
        checkpoint.load_into(net, tensors, source=str(path))
    net.requires_grad_(False)
    for layer in (net.classify8, net.classify4):
        layer.requires_grad_(True)
    samples = [_sample(image, label, max_side=max_side) for image, label in labelled(class_map.classes, frames, labels)]
    settings = LearnerConfig(learning_rate=config.learning_rate, own_share=1.0, prior_share=0.0)
    learner = Learner(Grouped(net, class_map, VOC), settings, device=device)
    rng = np.random.default_rng(config.seed)
    for done in range(1, config.passes + 1):
        losses = [learner.attempt(samples[ix]).step() for ix in rng.permutation(len(samples))]
        yield RetrainReport(done, config.passes, float(np.mean(losses)))
    save_student(out, net, VOC, meta={"frames": len(samples)}, kernel_dtype=torch.float16)


def _sample(image: np.ndarray, label: np.ndarray, *, max_side: int) -> Sample:
    size_wh = (image.shape[1], image.shape[0])
    size_wh = scaled_size(size_wh, max_side / max(size_wh), multiple=MULTIPLE)
    return Sample(np.ascontiguousarray(shrink(image, size_wh)), *targets(TeacherLabels(label), size_wh))


def compare_teachers(old: Teacher, new: Teacher, frames: Path, labels: Path, class_map: ClassMap) -> Comparison:
    """Mean IoU (pooled) of both on labelled frames that neither has learned.

    Raises:
        SourceError, UsageError: as `retrain_head`.
    """
    pairs = list(labelled(class_map.classes, frames, labels))
    found = []
    for teacher in (old, new):
        selected, score = SelectedTeacher(teacher, class_map), SegmentationScore(class_map.classes)
        for image, label in pairs:
            score.add(selected(image).labels, resize_labels(label, (image.shape[1], image.shape[0])))
        found.append(score.pooled or 0.0)
    return Comparison(len(pairs), *found)
