"""The measures of DAVIS 2016 (table 2.5): J, F, and over a sequence their mean, recall and decay.

J is the intersection over union of two masks, F the F1 of their boundaries within a tolerance. Written after the
definitions of the benchmark, with one deviation: the reference code casts the edges of its four bins to 8 bits, so that
its decay is wrong past 256 frames; here they are integers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

from narrowcast.core.errors import ShapeError

BOUNDARY_TOLERANCE = 0.008  # of the image's diagonal, rounded up to whole pixels
RECALL_THRESHOLD = 0.5

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class SequenceScore:
    """One measure over a sequence, each in [0, 1] but decay: the loss from the first quarter to the last."""

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True, slots=True)
class DavisScore:
    """J and F of one sequence."""

    region: SequenceScore
    boundary: SequenceScore


def region_similarity(prediction: Mask, truth: Mask) -> float:
    """J: intersection over union of two masks; 1.0 where both are empty."""
    _check_masks(prediction, truth)
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def boundary_f1(prediction: Mask, truth: Mask, *, tolerance_px: int | None = None) -> float:
    """F: the F1 of boundary pixels that have a boundary pixel of the other mask within `tolerance_px`.

    Args:
        prediction: of the object.
        truth: of the object.
        tolerance_px: radius of the disk in which boundaries match; by default `tolerance_of(truth.shape)`.
    """
    _check_masks(prediction, truth)
    radius_px = tolerance_of(truth.shape) if tolerance_px is None else tolerance_px
    predicted, true = boundary(prediction), boundary(truth)
    if not predicted.any() or not true.any():
        return 1.0 if predicted.any() == true.any() else 0.0
    precision = np.count_nonzero(predicted & _near(true, radius_px)) / np.count_nonzero(predicted)
    recall = np.count_nonzero(true & _near(predicted, radius_px)) / np.count_nonzero(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def tolerance_of(size_hw: Sequence[int]) -> int:
    """The boundary tolerance in pixels at an image size.

    >>> tolerance_of((480, 854))
    8
    """
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(*size_hw))


def boundary(mask: Mask) -> Mask:
    """Pixels that differ from the neighbour to the right, below or diagonally between; the image's edge is none."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask != right) | (mask != below) | (mask != diagonal)


def sequence_score(values: Sequence[float]) -> SequenceScore:
    """Mean, recall (share of frames above 0.5) and decay (mean of the first quarter − mean of the last).

    Neighbouring quarters share their edge frame, as in the benchmark.

    Raises:
        ShapeError: there are no values.
    """
    if not len(values):
        raise ShapeError("no frames to score: a DAVIS sequence needs at least three, its first and last are dropped")
    array = np.asarray(values, dtype=np.float64)
    edges = np.round(np.linspace(1, len(array), 5) + 1e-10).astype(np.int64) - 1  # the benchmark's, but not 8-bit
    first, last = array[: edges[1] + 1], array[edges[3] :]
    return SequenceScore(
        mean=float(array.mean()),
        recall=float((array > RECALL_THRESHOLD).mean()),
        decay=float(first.mean() - last.mean()),
    )


def davis_score(predictions: Iterable[Mask], truths: Iterable[Mask]) -> DavisScore:
    """J and F of a sequence, under the benchmark's protocol: the first and the last frame are dropped.

    Raises:
        ShapeError: fewer than three frames, or masks of different sizes.
    """
    pairs = list(zip(predictions, truths, strict=True))[1:-1]
    return DavisScore(
        region=sequence_score([region_similarity(prediction, truth) for prediction, truth in pairs]),
        boundary=sequence_score([boundary_f1(prediction, truth) for prediction, truth in pairs]),
    )


def _near(mask: Mask, radius_px: int) -> Mask:
    """Pixels within `radius_px` of `mask`: its dilation by a disk, from exact distances in linear time."""
    distance_px = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance_px <= radius_px


def _check_masks(prediction: Mask, truth: Mask) -> None:
    if prediction.shape != truth.shape or prediction.ndim != 2:
        raise ShapeError(f"masks must be (h, w) and of one size, got {prediction.shape} and {truth.shape}")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ShapeError(f"masks must be boolean, got {prediction.dtype} and {truth.dtype}")
