"""The numbers of a run: accuracy, and what it cost beside the teacher on every frame."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from narrowcast.core.runs import RunFolder
from narrowcast.metrics import cost
from narrowcast.models.augmented import AugmentedTeacher
from narrowcast.models.classes import SelectedTeacher
from narrowcast.models.teacher import Teacher
from narrowcast.stream.distill import Distiller
from narrowcast.stream.scores import SegmentationScores


@dataclass(slots=True)
class Costs:
    """Seconds that the run took so far, reading, writing and all; only scoring is not counted."""

    total_s: float = 0.0


def summarise(folder: RunFolder, scores: SegmentationScores, costs: Costs, distiller: Distiller) -> dict[str, Any]:
    """What `summary.json` holds; a number that cannot be known is None.

    `speedup` is the teacher's median time × frames over `total_s`. `total_s` counts decoding, drawing and writing too,
    the teacher's side does not: the figure errs against us.
    """
    timings = _Timings(folder)
    teacher_ms = timings.percentile("teacher", 50)
    teacher_every_frame_s = None if teacher_ms is None else teacher_ms * timings.frames / 1e3
    macs = _macs_speedup(timings, distiller)
    return {
        "frames": timings.frames,
        "teacher_frames": timings.teacher_frames,
        "teacher_fraction": timings.teacher_frames / timings.frames if timings.frames else None,
        "student_frames": timings.student_frames,
        "updates": timings.updates,
        "scored_frames": scores.predictions.num_frames,
        "miou_pooled": scores.predictions.pooled,
        "miou_per_frame": scores.predictions.per_frame,
        "miou_pooled_without_teacher_frames": scores.without_teacher.pooled,
        "miou_pooled_of_outputs": scores.outputs.pooled if scores.without_teacher.num_frames else None,
        "iou_per_class": scores.predictions.per_class,
        "student_ms_p50": timings.percentile("student", 50),
        "student_ms_p99": timings.percentile("student", 99),
        "update_ms_p50": timings.percentile("update", 50),
        "update_ms_p99": timings.percentile("update", 99),
        "teacher_ms_p50": teacher_ms,
        "teacher_ms_p99": timings.percentile("teacher", 99),
        "student_s": timings.sum_s("student"),
        "teacher_s": timings.sum_s("teacher"),
        "learning_s": timings.sum_s("learning"),
        "total_s": costs.total_s,
        "teacher_every_frame_s": teacher_every_frame_s,
        "speedup": teacher_every_frame_s / costs.total_s if teacher_every_frame_s and costs.total_s else None,
        "speedup_macs": macs,
        "recall": None if distiller.recall is None else distiller.recall.summary(),
    }


class _Timings:
    """The reports' timings, read back from the folder, so that a run in memory does not grow with its length."""

    def __init__(self, folder: RunFolder) -> None:
        self.frames = self.teacher_frames = self.student_frames = self.lessons = self.updates = 0
        lists: dict[str, list[float]] = {}
        for report in folder.reports():
            self.frames += 1
            self.teacher_frames += report["teacher_ran"]
            self.student_frames += report.get("student_ran", True)
            self.lessons += report.get("accuracy_after") is not None
            self.updates += report["updates"]
            for name, value in report["timings_ms"].items():
                lists.setdefault(name, []).append(value)
        self._values = {name: np.array(values, np.float32) for name, values in lists.items()}

    def percentile(self, name: str, percent: float) -> float | None:
        return float(np.percentile(self._values[name], percent)) if name in self._values else None

    def sum_s(self, name: str) -> float:
        return float(self._values[name].sum(dtype=np.float64) / 1e3) if name in self._values else 0.0


def _macs_speedup(timings: _Timings, distiller: Distiller) -> float | None:
    """Multiply-adds of the teacher on every frame over those of the run; None where the teacher's are not known."""
    if distiller.frame_size_wh is None or not timings.frames:
        return None
    teacher = teacher_macs(distiller.teacher, distiller.frame_size_wh)
    if not teacher:
        return None
    width, height = distiller.size_wh or distiller.frame_size_wh
    net = distiller.learner.net
    images = torch.zeros(1, 3, height, width, device=distiller.learner.device)
    student = cost.count_macs(net.coarse_logits, images)  # type: ignore[arg-type]
    update = cost.count_training_macs(net, images, forward=net.coarse_logits)  # type: ignore[arg-type]
    predictions = timings.student_frames + timings.lessons  # a lesson ends with one
    ours = predictions * student + timings.updates * update + timings.teacher_frames * teacher
    return timings.frames * teacher / ours


def teacher_macs(teacher: Teacher, size_wh: tuple[int, int]) -> float | None:
    """Multiply-adds of one call on an image of `size_wh`: counted where torch runs, else as the teacher's card says."""
    if isinstance(teacher, SelectedTeacher):
        return teacher_macs(teacher.teacher, size_wh)
    if isinstance(teacher, AugmentedTeacher):
        once = teacher_macs(teacher.teacher, size_wh)
        return once and once * len(list(teacher.views(*size_wh)))
    if getattr(teacher, "runs_in_torch", False):
        return cost.count_macs(teacher, np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    return getattr(getattr(teacher, "card", None), "macs", None)
