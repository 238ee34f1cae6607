"""Intersections over unions, against loops over pixels and by hand."""

import json
import math

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, ShapeError
from narrowcast.metrics import segmentation
from narrowcast.metrics.segmentation import SegmentationScore, confusion_matrix, frame_iou, iou_per_class, mean_iou

NAMES = ("background", "person", "auto", "bird")


def maps(seed: int, *, num_classes: int = 4, unknown: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prediction, labels = rng.integers(0, num_classes, size=(2, 13, 17)).astype(np.uint8)
    if unknown:
        labels[rng.random(labels.shape) < 0.2] = 255
        prediction[rng.random(labels.shape) < 0.1] = 255
    return prediction, labels


def loop_over_pixels(prediction: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for predicted, true in zip(prediction.ravel(), labels.ravel(), strict=True):
        if true != 255:
            matrix[true, 0 if predicted == 255 else predicted] += 1
    return matrix


def slow_ious(prediction: np.ndarray, labels: np.ndarray, num_classes: int) -> list[float]:
    scored = labels != 255
    prediction = np.where(prediction == 255, 0, prediction)
    ious = []
    for c in range(num_classes):
        union = (((prediction == c) | (labels == c)) & scored).sum()
        ious.append(((prediction == c) & (labels == c)).sum() / union if union else math.nan)
    return ious


@pytest.mark.parametrize("seed", range(5))
def test_the_confusion_matrix_counts_pixels(seed: int) -> None:
    prediction, labels = maps(seed)
    assert np.array_equal(confusion_matrix(prediction, labels, 4), loop_over_pixels(prediction, labels, 4))


@pytest.mark.parametrize("seed", range(5))
def test_ious_are_intersections_over_unions(seed: int) -> None:
    prediction, labels = maps(seed, num_classes=3)  # the fourth class is absent
    expected = slow_ious(prediction, labels, 4)
    np.testing.assert_allclose(iou_per_class(confusion_matrix(prediction, labels, 4)), expected)
    assert math.isnan(expected[3])
    assert frame_iou(prediction, labels, 4) == pytest.approx(np.nanmean(expected[1:]))


def test_false_alarms_on_background_count() -> None:
    """Where background is *ignored* rather than left out of the mean, these would be perfect."""
    labels = np.zeros((10, 10), np.uint8)
    labels[:2] = 1
    prediction = np.ones((10, 10), np.uint8)
    assert frame_iou(prediction, labels, 2) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("predicted_px", "true_px", "min_area_px", "expected"),
    [
        pytest.param(0, 0, 1, 1.0, id="both empty is right"),
        pytest.param(1, 0, 1, 0.0, id="one stray pixel in an empty frame is wrong by the textbook"),
        pytest.param(1, 0, 2, 1.0, id="and nothing with a least area"),
        pytest.param(0, 5, 1, 0.0, id="a missed object is wrong"),
        pytest.param(0, 5, 6, 1.0, id="unless it is under the least area"),
        pytest.param(5, 10, 6, 0.5, id="an object counts by its true area"),
        pytest.param(10, 5, 6, 0.5, id="or by its predicted area"),
    ],
)
def test_empty_frames_and_stray_pixels(predicted_px: int, true_px: int, min_area_px: int, expected: float) -> None:
    prediction, labels = np.zeros((2, 5, 6), np.uint8)
    prediction.ravel()[:predicted_px] = 1
    labels.ravel()[:true_px] = 1
    assert frame_iou(prediction, labels, 3, min_area_px=min_area_px) == expected


def test_a_stray_pixel_halves_the_mean_without_a_least_area() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[2:6, 2:6] = 1
    prediction = labels.copy()
    prediction[9, 9] = 2
    assert frame_iou(prediction, labels, 3) == 0.5
    assert frame_iou(prediction, labels, 3, min_area_px=4) == 1.0


def test_a_frame_of_unknown_pixels_is_an_empty_frame() -> None:
    assert frame_iou(np.ones((4, 4), np.uint8), np.full((4, 4), 255, np.uint8), 2) == 1.0


@pytest.mark.parametrize(
    ("prediction", "labels", "message"),
    [
        pytest.param(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"\(2, 3\)", id="sizes differ"),
        pytest.param(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8), "uint8", id="not bytes"),
        pytest.param(
            np.full((2, 3), 4, np.uint8), np.zeros((2, 3), np.uint8), "prediction holds class 4", id="predicted"
        ),
        pytest.param(np.zeros((2, 3), np.uint8), np.full((2, 3), 9, np.uint8), "labels hold class 9", id="labelled"),
    ],
)
def test_maps_that_cannot_be_scored_are_refused(prediction: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        confusion_matrix(prediction, labels, 4)


def test_pooled_and_per_frame_means_are_what_they_say() -> None:
    score = SegmentationScore(NAMES)
    frames = [maps(seed) for seed in range(6)]
    ious = [score.add(prediction, labels) for prediction, labels in frames]
    stacked = [np.concatenate(planes) for planes in zip(*frames, strict=True)]
    expected = slow_ious(stacked[0], stacked[1], 4)[1:]
    assert score.num_frames == 6
    assert score.per_frame == pytest.approx(np.mean(ious))
    assert score.pooled == pytest.approx(np.mean(expected))
    assert list(score.per_class.values()) == pytest.approx(expected)
    assert list(score.per_class) == ["person", "auto", "bird"]


def test_a_small_frame_weighs_less_when_pooled() -> None:
    score = SegmentationScore(NAMES[:2])
    big, small = np.ones((10, 10), np.uint8), np.ones((1, 10), np.uint8)
    score.add(big, big)
    score.add(np.zeros_like(small), small)
    assert score.per_frame == 0.5
    assert score.pooled == pytest.approx(100 / 110)


def test_absent_classes_are_null_not_a_number() -> None:
    score = SegmentationScore(NAMES)
    assert (score.pooled, score.per_frame) == (None, None)
    empty = np.zeros((4, 4), np.uint8)
    assert score.add(empty, empty) == 1.0
    assert (score.pooled, score.per_frame) == (None, 1.0)
    assert score.per_class == {"person": None, "auto": None, "bird": None}
    json.dumps(score.per_class, allow_nan=False)


def test_a_score_goes_on_where_it_was_stored() -> None:
    whole, half = SegmentationScore(NAMES, min_area_px=3), SegmentationScore(NAMES, min_area_px=3)
    for seed in range(6):
        if seed == 3:
            half = SegmentationScore.from_json(json.loads(json.dumps(half.to_json())))
        for score in (whole, half):
            score.add(*maps(seed))
    assert half.to_json() == whole.to_json()
    assert (half.pooled, half.per_frame, half.per_class) == (whole.pooled, whole.per_frame, whole.per_class)


def test_a_score_needs_a_class() -> None:
    with pytest.raises(ConfigError, match="at least one class"):
        SegmentationScore(["background"])


def test_no_class_in_sight_has_no_mean() -> None:
    assert math.isnan(mean_iou(np.diag([7, 0, 0])))
    assert segmentation.iou_or_empty(np.diag([7, 0, 0])) == 1.0
