"""How well scores rank the positives of a category: average precision, precision and recall, F1. Ties count right.

Items of equal score have no order among themselves, so a threshold takes all of them or none: average precision steps
from one distinct score to the next, as scikit-learn's does, and does not depend on the order of the items.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Real, Shaped

from narrowcast.core.errors import ShapeError


@dataclass(frozen=True, slots=True)
class BinaryScore:
    """Precision, recall and their harmonic mean; each is 0 where it would be 0 / 0."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class BestF1:
    """The best F1 of any threshold, and that threshold: positive is what scores at least so much."""

    f1: float
    threshold: float


def average_precision(scores: Real[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]) -> float:
    """Σ (R_k − R_{k−1}) P_k over the distinct scores, from the highest down; NaN where nothing is positive.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    0.8333333333333333
    """
    found, taken, _ = _curve(scores, labels)
    if not len(found) or not found[-1]:
        return math.nan
    gained = np.diff(found, prepend=0)
    return float((gained * (found / taken)).sum() / found[-1])


def mean_average_precision(scores: Real[np.ndarray, "n c"], labels: Shaped[np.ndarray, "n c"]) -> float:
    """The mean of the columns' average precisions; columns without a positive are left out, NaN where all are."""
    each = [average_precision(scores[:, column], labels[:, column]) for column in range(scores.shape[1])]
    known = [value for value in each if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def binary_score(predicted: Shaped[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]) -> BinaryScore:
    """Precision, recall and F1 of what is called positive.

    >>> binary_score(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    BinaryScore(precision=0.5, recall=0.5, f1=0.5)
    """
    called, true = _as_bool(predicted), _as_bool(labels)
    hits = int((called & true).sum())
    num_called, num_true = int(called.sum()), int(true.sum())
    return BinaryScore(
        precision=hits / num_called if num_called else 0.0,
        recall=hits / num_true if num_true else 0.0,
        f1=2 * hits / (num_called + num_true) if num_called + num_true else 0.0,
    )


def best_f1(scores: Real[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]) -> BestF1:
    """The threshold with the best F1, the highest such; F1 0 above all scores where nothing is positive.

    A threshold chosen on the data that it is scored on flatters: choose on training data, or say so.
    """
    found, taken, thresholds = _curve(scores, labels)
    if not len(found) or not found[-1]:
        return BestF1(0.0, math.inf)
    f1 = 2 * found / (taken + found[-1])
    best = int(f1.argmax())
    return BestF1(float(f1[best]), float(thresholds[best]))


def break_even_threshold(scores: Real[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]) -> float:
    """The score that as many negatives reach as there are positives; +∞ without positives, the lowest with too few.

    For scores of images that a model was fitted to: positives that it has seen all score high, so that the best F1
    among them asks too much of new ones; negatives, of which there are many, say what is normal. Of new data it calls
    at most about half wrongly positive. Ours, see benchmarks/bgsplit.py.

    >>> break_even_threshold(np.array([0.9, 0.8, 0.3, 0.2, 0.1]), np.array([1, 1, 0, 0, 0]))
    0.2
    """
    is_positive = _as_bool(labels)
    num = int(is_positive.sum())
    negatives = np.sort(scores[~is_positive])[::-1]
    if not num:
        return math.inf
    return float(negatives[num - 1] if num <= len(negatives) else scores.min())


def _curve(
    scores: Real[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At each distinct score, from the highest down: positives found, items taken, the score."""
    if scores.shape != labels.shape:
        raise ShapeError(f"{len(scores)} scores for {len(labels)} labels; expected one each")
    if np.isnan(scores).any():
        raise ShapeError("a score is not a number; nothing can be ranked by it")
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    found = np.cumsum(_as_bool(labels)[order])[last]
    return found, last + 1, ranked[last]


def _as_bool(labels: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    return labels.astype(bool)
