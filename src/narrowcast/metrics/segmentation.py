"""How well label maps agree: confusion matrices and intersections over unions, pooled over a stream and frame by frame.

Labels are indices of classes, 0 the background, 255 unknown. Pixels whose true label is 255 are not scored; a predicted
255 counts as background. The thesis does not say whether its mean IoU is pooled over a video or a mean of frames, nor
what an empty frame scores: both means are here, named, and background is in neither.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from narrowcast.core.errors import ConfigError, ShapeError

IGNORE = 255
BACKGROUND = 0


def confusion_matrix(
    prediction: UInt8[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"], num_classes: int
) -> Int64[np.ndarray, "k k"]:
    """Pixel counts: row = true class, column = predicted class.

    Raises:
        ShapeError: the maps differ in size, are not uint8, or hold a class that is not among `num_classes`.
    """
    if prediction.shape != labels.shape:
        raise ShapeError(f"prediction is {prediction.shape}, labels are {labels.shape}")
    if prediction.dtype != np.uint8 or labels.dtype != np.uint8:
        raise ShapeError(f"label maps are uint8, got {prediction.dtype} and {labels.dtype}")
    codes = (labels.astype(np.uint16) << 8) | prediction
    counts = np.bincount(codes.ravel(), minlength=1 << 16).reshape(256, 256)[:IGNORE]
    _check_classes(counts, num_classes)
    matrix = counts[:num_classes, :num_classes].astype(np.int64)
    matrix[:, BACKGROUND] += counts[:num_classes, IGNORE]
    return matrix


def iou_per_class(confusion: Int64[np.ndarray, "k k"]) -> Float64[np.ndarray, " k"]:
    """Intersection over union of each class, background first; NaN where a class is neither true nor predicted."""
    intersection = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    return np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def mean_iou(confusion: Int64[np.ndarray, "k k"], *, min_area_px: int = 1) -> float:
    """Mean IoU over the classes in sight, without background; NaN where none is in sight.

    A class is in sight if its true area or its predicted area is at least `min_area_px`: with 1 (the textbook rule) one
    stray pixel of an absent class halves the mean of a frame with one object.
    """
    area = np.maximum(confusion.sum(axis=0), confusion.sum(axis=1))
    in_sight = area >= max(min_area_px, 1)
    in_sight[BACKGROUND] = False
    return float(iou_per_class(confusion)[in_sight].mean()) if in_sight.any() else math.nan


def frame_iou(
    prediction: UInt8[np.ndarray, "h w"],
    labels: UInt8[np.ndarray, "h w"],
    num_classes: int,
    *,
    min_area_px: int = 1,
) -> float:
    """Mean IoU of one frame over the classes in sight, without background; 1.0 where both maps are empty (ours)."""
    return iou_or_empty(confusion_matrix(prediction, labels, num_classes), min_area_px=min_area_px)


def iou_or_empty(confusion: Int64[np.ndarray, "k k"], *, min_area_px: int = 1) -> float:
    """`mean_iou` with the rule for frames without objects: nothing there and nothing predicted is right, 1.0."""
    mean = mean_iou(confusion, min_area_px=min_area_px)
    return 1.0 if math.isnan(mean) else mean


@final
class SegmentationScore:
    """Scores of a stream, added frame by frame: pooled, mean of frames and per class, in memory that does not grow."""

    def __init__(self, classes: Sequence[str], *, min_area_px: int = 1) -> None:
        """An empty score.

        Args:
            classes: names; index 0 is the background.
            min_area_px: least area for a class to count in a *frame's* mean; pooled figures count every pixel.
        """
        if len(classes) < 2:
            raise ConfigError(f"a score needs the background and at least one class, got {list(classes)}")
        self.classes = tuple(classes)
        self.min_area_px = min_area_px
        self.confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
        self.num_frames = 0
        self._frame_iou_sum = 0.0

    def add(self, prediction: UInt8[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"]) -> float:
        """Count one frame; its `frame_iou`."""
        confusion = confusion_matrix(prediction, labels, len(self.classes))
        iou = iou_or_empty(confusion, min_area_px=self.min_area_px)
        self.confusion += confusion
        self.num_frames += 1
        self._frame_iou_sum += iou
        return iou

    @property
    def pooled(self) -> float | None:
        """Mean IoU of the pixels of all frames together; None where no object was true or predicted."""
        return _or_none(mean_iou(self.confusion))

    @property
    def per_frame(self) -> float | None:
        """Mean over frames of the frame's mean IoU; None before the first frame."""
        return self._frame_iou_sum / self.num_frames if self.num_frames else None

    @property
    def per_class(self) -> dict[str, float | None]:
        """Pooled IoU of each class but the background; None for one that was neither true nor predicted."""
        ious = iou_per_class(self.confusion)[1:]
        return {name: _or_none(iou) for name, iou in zip(self.classes[1:], ious, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """The score so far as JSON-serialisable values, for `from_json`."""
        return {
            "classes": list(self.classes),
            "min_area_px": self.min_area_px,
            "confusion": self.confusion.tolist(),
            "num_frames": self.num_frames,
            "frame_iou_sum": self._frame_iou_sum,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "SegmentationScore":
        """A score that goes on where `to_json` was called."""
        score = cls(state["classes"], min_area_px=state["min_area_px"])
        score.confusion += np.asarray(state["confusion"], dtype=np.int64)
        score.num_frames = state["num_frames"]
        score._frame_iou_sum = state["frame_iou_sum"]
        return score


def _check_classes(counts: Int64[np.ndarray, "255 256"], num_classes: int) -> None:
    if counts[num_classes:].any():
        found = num_classes + int(np.flatnonzero(counts[num_classes:].any(axis=1))[0])
        raise ShapeError(f"labels hold class {found}, expected 0 to {num_classes - 1} (or {IGNORE}, unknown)")
    if counts[:, num_classes:IGNORE].any():
        found = num_classes + int(np.flatnonzero(counts[:, num_classes:IGNORE].any(axis=0))[0])
        raise ShapeError(f"the prediction holds class {found}, expected 0 to {num_classes - 1}")


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
