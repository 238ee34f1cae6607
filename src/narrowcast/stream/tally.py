"""What an evaluation counts of one method on one stream, frame by frame."""

import math
import statistics
from typing import Any, final

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from narrowcast.core.frames import IGNORE, Frame
from narrowcast.metrics.segmentation import SegmentationScore, confusion_matrix, mean_iou
from narrowcast.stream.learner import shrink
from narrowcast.stream.optical_flow import MAX_ASPECT, MIN_FLOW_PX
from narrowcast.stream.scores import SegmentationScores
from narrowcast.stream.stream_report import StreamReport

WINDOW_S = 30  # figure 2.4's points are averages over 30 s
AT_REST_PX = 0.5  # motion between two frames that counts as none; ours


@final
class Tally:
    """Scores and costs of a method's reports; memory grows by one small matrix a second of video."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.scores = SegmentationScores(classes)
        self.with_teacher = SegmentationScore(classes)
        self.worst = WorstWindow(len(classes))
        self.flicker = Flicker()
        self.frames = self.teacher_frames = self.student_frames = self.updates = 0
        self.timings_ms: dict[str, list[float]] = {}

    def add(self, frame: Frame, report: StreamReport, truth: UInt8[np.ndarray, "h w"]) -> float:
        """Count one frame, scored against `truth`; the mean IoU of its prediction."""
        iou = self.scores.add(report, truth)
        put_out = report.labels if report.teacher_labels is None else report.teacher_labels
        self.with_teacher.add(put_out, truth)
        self.worst.add(report.time_s, confusion_matrix(report.prediction, truth, len(self.classes)))
        self.flicker.add(frame, report.labels)
        self.frames += 1
        self.teacher_frames += report.teacher_ran
        self.student_frames += report.student_ran
        self.updates += report.updates
        for name, value_ms in report.timings_ms.items():
            self.timings_ms.setdefault(name, []).append(value_ms)
        return iou

    def median_ms(self, name: str) -> float | None:
        """The median of one kind of time; None where it never happened."""
        values = self.timings_ms.get(name)
        return statistics.median(values) if values else None

    def sum_s(self, name: str) -> float:
        """All of one kind of time."""
        return math.fsum(self.timings_ms.get(name, ())) / 1e3

    def accuracy(self) -> dict[str, Any]:
        """The scores, under the names of `summary.json`."""
        scores = self.scores
        return {
            "miou_pooled": scores.predictions.pooled,
            "miou_per_frame": scores.predictions.per_frame,
            "miou_pooled_without_teacher_frames": scores.without_teacher.pooled,
            "miou_pooled_of_outputs": scores.outputs.pooled,
            "miou_pooled_with_teacher_labels": self.with_teacher.pooled,
            "iou_per_class": scores.predictions.per_class,
            "iou_per_class_with_teacher_labels": self.with_teacher.per_class,
            "worst_window": self.worst.found(),
            "flicker": self.flicker.share,
        }


def has_flow(size_wh: tuple[int, int]) -> bool:
    """Whether DIS can be asked at this size; on smaller or narrower frames it ends the process."""
    return min(size_wh) >= MIN_FLOW_PX and max(size_wh) <= MAX_ASPECT * min(size_wh)


@final
class WorstWindow:
    """The 30 seconds of a stream with the lowest pooled mean IoU, begun at any whole second."""

    def __init__(self, num_classes: int, *, width_s: int = WINDOW_S) -> None:
        self._num_classes, self._width_s = num_classes, width_s
        self._seconds: dict[int, Int64[np.ndarray, "k k"]] = {}

    def add(self, time_s: float, confusion: Int64[np.ndarray, "k k"]) -> None:
        """Count one frame's pixels."""
        second = math.floor(time_s)
        kept = self._seconds.get(second)
        self._seconds[second] = confusion.copy() if kept is None else kept + confusion

    def found(self) -> dict[str, float | None] | None:
        """`start_s` and `miou` of the worst window; of the whole stream where it is shorter than one.

        Windows without any object, true or predicted, are left out; None where all are so.
        """
        if not self._seconds:
            return None
        first, last = min(self._seconds), max(self._seconds)
        starts = range(first, max(first, last + 1 - self._width_s) + 1)
        scored = [(mean_iou(self._sum(start)), start) for start in starts]
        known = [(miou, start) for miou, start in scored if not math.isnan(miou)]
        return {"start_s": float(min(known)[1]), "miou": min(known)[0]} if known else None

    def _sum(self, start: int) -> Int64[np.ndarray, "k k"]:
        empty = np.zeros((self._num_classes, self._num_classes), np.int64)
        window = range(start, start + self._width_s)
        return sum((self._seconds[second] for second in window if second in self._seconds), empty)


@final
class Flicker:
    """Label changes where flow says that nothing moved, as a share of the object pixels at rest.

    A pixel is at rest between two frames if DIS flow (OpenCV, ultrafast) moves it by less than half a pixel; it is an
    object's if it is labelled as one in either frame. Nothing of this is a cost of the method.
    """

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._changed = self._at_rest = 0

    def add(self, frame: Frame, labels: UInt8[np.ndarray, "h w"]) -> None:
        """Compare with the frame before."""
        size_wh = (labels.shape[1], labels.shape[0])
        grey = cv2.cvtColor(shrink(frame.image_rgb, size_wh), cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, (grey, labels)
        if before is None or before[0].shape != grey.shape or not has_flow(size_wh):
            return
        watched = ((before[1] | labels) > 0) & (before[1] != IGNORE) & (labels != IGNORE)
        if watched.any():
            watched &= self._is_at_rest(before[0], grey)
            self._at_rest += int(np.count_nonzero(watched))
            self._changed += int(np.count_nonzero(watched & (before[1] != labels)))

    @property
    def share(self) -> float | None:
        """Changed pixels over pixels at rest; None where no object was ever at rest."""
        return self._changed / self._at_rest if self._at_rest else None

    def _is_at_rest(self, before: UInt8[np.ndarray, "h w"], now: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        flow_xy = self._dis.calc(before, now, None)  # type: ignore[call-overload]
        return np.hypot(flow_xy[..., 0], flow_xy[..., 1]) < AT_REST_PX
