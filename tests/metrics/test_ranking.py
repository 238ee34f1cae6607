"""Average precision and F1 against scikit-learn and against slow, obvious versions."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from narrowcast.core.errors import ShapeError
from narrowcast.metrics.ranking import (
    average_precision,
    best_f1,
    binary_score,
    break_even_threshold,
    mean_average_precision,
)


def draws() -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores with and without ties, positives rare and common."""
    rng = np.random.default_rng(0)
    found = []
    for num, levels, share in [(1, 1, 1.0), (7, 2, 0.5), (50, 5, 0.1), (300, 3, 0.01), (300, 10**6, 0.2)]:
        labels = rng.random(num) < share
        labels[rng.integers(num)] = True
        found.append((rng.integers(0, levels, num) / levels, labels))
    return found


@pytest.mark.parametrize(("scores", "labels"), draws(), ids=lambda value: f"{len(value)}")
def test_average_precision_is_that_of_scikit_learn(scores: np.ndarray, labels: np.ndarray) -> None:
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(("scores", "labels"), draws(), ids=lambda value: f"{len(value)}")
def test_the_best_threshold_is_the_best_of_all(scores: np.ndarray, labels: np.ndarray) -> None:
    slow = max((f1_score(labels, scores >= threshold), threshold) for threshold in set(scores))
    found = best_f1(scores, labels)
    assert (found.f1, found.threshold) == (pytest.approx(slow[0]), slow[1])


def test_equal_scores_count_the_same_in_any_order(rng: np.random.Generator) -> None:
    labels = np.array([True] + [False] * 9)
    values = {average_precision(np.zeros(10), rng.permutation(labels)) for _ in range(5)}
    assert values == {0.1}


def test_called_and_true() -> None:
    rng = np.random.default_rng(1)
    called, true = rng.random(100) < 0.3, rng.random(100) < 0.2
    found = binary_score(called, true)
    expected = (precision_score(true, called), recall_score(true, called), f1_score(true, called))
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected)


def test_nothing_called_and_nothing_true_are_zero_not_an_error() -> None:
    nothing, all_true = np.zeros(3, bool), np.ones(3, bool)
    assert binary_score(nothing, all_true).f1 == binary_score(all_true, nothing).f1 == 0.0
    assert binary_score(nothing, nothing).precision == 0.0
    assert best_f1(np.arange(3.0), nothing).threshold == math.inf


def test_without_a_positive_there_is_no_average_precision() -> None:
    assert math.isnan(average_precision(np.arange(3.0), np.zeros(3, bool)))
    assert math.isnan(average_precision(np.zeros(0), np.zeros(0, bool)))
    scores, labels = np.eye(3), np.eye(3, dtype=bool)
    labels[:, 2] = False
    assert mean_average_precision(scores, labels) == 1.0
    assert math.isnan(mean_average_precision(scores, np.zeros((3, 3), bool)))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        pytest.param(np.zeros(2), np.zeros(3, bool), "2 scores for 3 labels", id="lengths"),
        pytest.param(np.array([0.0, np.nan]), np.zeros(2, bool), "not a number", id="nan"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        average_precision(scores, labels)


def test_as_many_negatives_reach_the_break_even_threshold_as_there_are_positives() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(500) < 20
    scores = rng.normal(size=500) + 5.0 * labels
    threshold = break_even_threshold(scores, labels)
    assert (scores[~labels] >= threshold).sum() == 20
    assert (scores[labels] >= threshold).all()
    assert break_even_threshold(np.array([0.1, 0.2, 0.9]), np.array([1, 1, 0])) == 0.1
    assert break_even_threshold(np.arange(3.0), np.zeros(3)) == math.inf


def test_a_model_that_fits_its_positives_finds_new_ones_below_their_scores() -> None:
    """The best F1 of what was fitted asks for more than new positives have; the negatives know better."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) < 10
    fitted = rng.normal(size=1000) + 12.0 * labels
    new = rng.normal(size=1000) + 4.0 * labels
    strict = binary_score(new >= best_f1(fitted, labels).threshold, labels).f1
    assert strict == 0.0
    assert binary_score(new >= break_even_threshold(fitted, labels), labels).f1 > 0.6
