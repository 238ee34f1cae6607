"""Scores against labels by people, where a data set has them: beside agreement with the teacher, not mixed with it."""

from typing import Any, final

import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import ClassNameError
from narrowcast.core.frames import IGNORE
from narrowcast.metrics.davis import boundary_f1, region_similarity, sequence_score
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import ClassMap, canonical
from narrowcast.models.teacher import Teacher
from narrowcast.stream.distill import StreamReport
from narrowcast.stream.targets import resize_labels

Labels = UInt8[np.ndarray, "h w"]


@final
class TruthTally:
    """mIoU against the truth, and J and F (table 2.5) where a stream is about one class.

    All at the student's size but J and F, which are at the truth's own.
    """

    def __init__(self, truth: Teacher, class_map: ClassMap) -> None:
        self._truth, self._classes = truth, class_map.classes
        self._table = truth_table(truth.classes, class_map)
        self._predictions, self._with_teacher, self._teacher = (SegmentationScore(self._classes) for _ in range(3))
        self._j: list[float] = []
        self._f: list[float] = []

    def add(self, image_rgb: UInt8[np.ndarray, "h w 3"], index: int, report: StreamReport, teacher: Labels) -> None:
        """Count frame `index` of the source, if there is truth of it; `teacher` is what the teacher says of it."""
        full = self._table[self._truth(image_rgb, frame_index=index).labels]
        if (full == IGNORE).all():
            return
        truth = resize_labels(full, (report.prediction.shape[1], report.prediction.shape[0]))
        put_out = report.labels if report.teacher_labels is None else report.teacher_labels
        self._predictions.add(report.prediction, truth)
        self._with_teacher.add(put_out, truth)
        self._teacher.add(teacher, truth)
        if len(self._classes) == 2:
            found = resize_labels(put_out, (full.shape[1], full.shape[0])) == 1
            self._j.append(region_similarity(found, full == 1))
            self._f.append(boundary_f1(found, full == 1))

    def found(self) -> dict[str, Any] | None:
        """The numbers; None where no frame had truth."""
        if not self._predictions.num_frames:
            return None
        return {
            "frames": self._predictions.num_frames,
            "miou_pooled": self._predictions.pooled,
            "miou_pooled_with_teacher_labels": self._with_teacher.pooled,
            "miou_pooled_of_teacher": self._teacher.pooled,
            "iou_per_class": self._predictions.per_class,
            "j": _davis(self._j),
            "f": _davis(self._f),
        }


def _davis(values: list[float]) -> dict[str, float] | None:
    """Mean, recall and decay without the first and the last frame, as DAVIS counts."""
    if len(values) < 3:
        return None
    score = sequence_score(values[1:-1])
    return {"mean": score.mean, "recall": score.recall, "decay": score.decay}


def truth_table(truth_classes: tuple[str, ...], class_map: ClassMap) -> UInt8[np.ndarray, "256"]:
    """From the truth's labels to the stream's classes, by their own names or their members'.

    Raises:
        ClassNameError: the truth knows none of the stream's classes.
    """
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for class_ix, (name, members) in enumerate(zip(class_map.classes, class_map.members, strict=True)):
        wanted = {canonical(one) for one in (name, *members)} if class_ix else set()
        table[[ix for ix, own in enumerate(truth_classes) if canonical(own) in wanted]] = class_ix
    if not (table[: len(truth_classes)] > 0).any():
        named = ", ".join(class_map.classes[1:])
        raise ClassNameError(f"the data set's labels know none of {named}; they know {', '.join(truth_classes[1:])}")
    return table
