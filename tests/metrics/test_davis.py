"""J, F, recall and decay, against definitions written out in loops."""

import math

import numpy as np
import pytest

from narrowcast.core.errors import ShapeError
from narrowcast.metrics.davis import (
    boundary,
    boundary_f1,
    davis_score,
    region_similarity,
    sequence_score,
    tolerance_of,
)


def blob(seed: int, *, size: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    centre, radii = rng.uniform(6, 18, 2), rng.uniform(3, 10, 2)
    mask = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
    return mask ^ (rng.random(mask.shape) < 0.02)


def slow_boundary(mask: np.ndarray) -> set[tuple[int, int]]:
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            inside = [(min(j, height - 1), min(i, width - 1)) for j, i in neighbours]
            if any(mask[j, i] != mask[y, x] for j, i in inside):
                found.add((y, x))
    return found


def slow_f1(prediction: np.ndarray, truth: np.ndarray, radius: int) -> float:
    predicted, true = slow_boundary(prediction), slow_boundary(truth)
    if not predicted or not true:
        return float(bool(predicted) == bool(true))

    def matched(these: set, those: set) -> float:
        near = [any((y - j) ** 2 + (x - i) ** 2 <= radius**2 for j, i in those) for y, x in these]
        return sum(near) / len(near)

    precision, recall = matched(predicted, true), matched(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_f_is_the_f1_of_boundaries_within_a_disk(seed: int, radius: int) -> None:
    prediction, truth = blob(seed), blob(seed + 100)
    assert {(int(y), int(x)) for y, x in np.argwhere(boundary(truth))} == slow_boundary(truth)
    expected = slow_f1(prediction, truth, radius)
    assert boundary_f1(prediction, truth, tolerance_px=radius) == pytest.approx(expected)


@pytest.mark.parametrize(("size_hw", "radius_px"), [((480, 854), 8), ((24, 24), 1), ((720, 1280), 12)])
def test_the_tolerance_is_a_share_of_the_diagonal_rounded_up(size_hw: tuple[int, int], radius_px: int) -> None:
    assert tolerance_of(size_hw) == radius_px


def test_empty_masks() -> None:
    empty, full = np.zeros((24, 24), bool), blob(0)
    assert (region_similarity(empty, empty), boundary_f1(empty, empty)) == (1.0, 1.0)
    assert (region_similarity(empty, full), boundary_f1(empty, full)) == (0.0, 0.0)
    assert (region_similarity(full, empty), boundary_f1(full, empty)) == (0.0, 0.0)
    assert (region_similarity(full, full), boundary_f1(full, full)) == (1.0, 1.0)


def test_j_is_intersection_over_union() -> None:
    prediction, truth = np.zeros((2, 4, 4), bool)
    prediction[:2], truth[1:3] = True, True
    assert region_similarity(prediction, truth) == pytest.approx(4 / 12)


def slow_decay(values: list[float]) -> float:
    """The benchmark's, with edges as Python integers."""
    edges = [round(1 + i * (len(values) - 1) / 4 + 1e-10) - 1 for i in range(5)]
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]
    return sum(first) / len(first) - sum(last) / len(last)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 68, 255, 257, 300, 1000])
def test_decay_is_first_quarter_less_last_at_any_length(length: int) -> None:
    values = list(np.random.default_rng(length).random(length))
    score = sequence_score(values)
    assert score.decay == pytest.approx(slow_decay(values), abs=1e-12)
    assert score.mean == pytest.approx(sum(values) / length)
    assert score.recall == sum(value > 0.5 for value in values) / length


def test_decay_past_256_frames_is_not_garbage() -> None:
    """8-bit bin edges would mix up the quarters of a long sequence that fades from 1 to 0."""
    assert sequence_score(list(np.linspace(1, 0, 1000))).decay == pytest.approx(0.75, abs=0.01)


def test_recall_at_the_threshold_is_a_miss() -> None:
    assert sequence_score([0.5, 0.51, 1.0, 0.2]).recall == 0.5


def test_the_first_and_last_frame_are_dropped() -> None:
    masks = [blob(seed) for seed in range(6)]
    wrong = [~masks[0], *masks[1:-1], ~masks[-1]]
    score = davis_score(wrong, masks)
    assert (score.region.mean, score.region.recall, score.region.decay) == (1.0, 1.0, 0.0)
    assert score.boundary.mean == 1.0


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ShapeError, match="no frames"):
        davis_score([blob(0)] * 2, [blob(0)] * 2)
    with pytest.raises(ShapeError, match="one size"):
        region_similarity(np.zeros((2, 3), bool), np.zeros((3, 2), bool))
    with pytest.raises(ShapeError, match="boolean"):
        boundary_f1(np.zeros((2, 3), np.uint8), np.zeros((2, 3), bool))
    assert not math.isnan(sequence_score([0.3]).decay)
