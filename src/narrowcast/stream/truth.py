"""Scores against labels by people, where a data set has them: beside agreement with the teacher, not mixed with it."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, final

import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import ClassNameError
from narrowcast.core.frames import IGNORE
from narrowcast.metrics.davis import boundary_f1, region_similarity, sequence_score
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import ClassMap, canonical
from narrowcast.models.teacher import Teacher
from narrowcast.stream.paired_labels import PairedLabels
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.targets import resize_labels

Labels = UInt8[np.ndarray, "h w"]


@final
class TruthTally:
    """mIoU against the truth, and J and F (table 2.5) where a stream is about objects: one class, or a class for each.

    All at the student's size but J and F, which are at the truth's own.
    """

    def __init__(self, truth: Teacher, class_map: ClassMap) -> None:
        self._truth, self._classes = truth, class_map.classes
        self._table = truth_table(truth.classes, class_map)
        self._predictions, self._with_teacher, self._teacher = (SegmentationScore(self._classes) for _ in range(3))
        is_about_objects = len(self._classes) == 2 or (isinstance(truth, PairedLabels) and truth.are_objects)
        self._objects = ObjectTally(self._classes[1:]) if is_about_objects else None
        self._objects_predicted = ObjectTally(self._classes[1:]) if is_about_objects else None

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
        if self._objects is not None and self._objects_predicted is not None:
            self._objects.add(put_out, full)
            self._objects_predicted.add(report.prediction, full)

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
            **_mean_over_objects(self._objects, ""),
            **_mean_over_objects(self._objects_predicted, "_of_predictions"),
            "objects": None if self._objects is None else self._objects.found(),
        }


@final
class ObjectTally:
    """J and F of each object of a sequence, under DAVIS's protocol: without the first and the last frame."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._values: dict[str, dict[str, list[float]]] = {name: {"j": [], "f": []} for name in names}

    def add(self, labels: Labels, truth: UInt8[np.ndarray, "H W"]) -> None:
        """Count one frame; where the truth is unknown nothing counts."""
        known = truth != IGNORE
        full = resize_labels(labels, (truth.shape[1], truth.shape[0]))
        for number, name in enumerate(self._names, start=1):
            found, true = (full == number) & known, truth == number
            self._values[name]["j"].append(region_similarity(found, true))
            self._values[name]["f"].append(boundary_f1(found, true))

    def found(self) -> dict[str, dict[str, dict[str, float]]] | None:
        """Mean, recall and decay of J and F by object; None for a sequence of fewer than three frames."""
        if len(next(iter(self._values.values()))["j"]) < 3:
            return None
        return {
            name: {measure: asdict(sequence_score(values[1:-1])) for measure, values in measures.items()}
            for name, measures in self._values.items()
        }


def _mean_over_objects(tally: ObjectTally | None, ending: str) -> dict[str, dict[str, float] | None]:
    """J and F of a sequence: every object counts alike, as in DAVIS-2017."""
    found = None if tally is None else tally.found()
    means = {} if found is None else mean_over_objects(found.values())
    return {f"{measure}{ending}": means.get(measure) for measure in ("j", "f")}


def mean_over_objects(
    objects: Iterable[Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    """Mean, recall and decay of J and F over objects, of one sequence or of many."""
    every = list(objects)
    return {
        measure: {part: statistics.fmean(one[measure][part] for one in every) for part in ("mean", "recall", "decay")}
        for measure in ("j", "f")
    }


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
