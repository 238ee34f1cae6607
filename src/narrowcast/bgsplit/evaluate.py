"""How well categories are found in the background: AP, F1 of the decision, precision, recall (section 5.4.1)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from narrowcast.bgsplit.loss import UNKNOWN
from narrowcast.core.errors import ShapeError
from narrowcast.metrics.ranking import average_precision, binary_score, break_even_threshold

EVEN = float(np.log(0.5))
CURVE_POINTS = 50  # of a precision-recall curve, at most


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """One category. `f1` is of the (N+1)-way arg max; `f1_threshold` of a threshold chosen on training scores.

    `known` is the number of test images whose label is known. Where images may show several categories, `f1`,
    `precision` and `recall` are of a probability of 50% or more.
    """

    category: str
    positives: int
    ap: float
    f1: float
    precision: float
    recall: float
    threshold: float
    f1_threshold: float
    known: int
    curve: tuple[tuple[float, float], ...] = field(default=(), repr=False)  # (recall, precision)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over the evaluated categories, and each of them."""

    map: float
    f1: float
    f1_threshold: float
    precision: float
    recall: float
    categories: tuple[CategoryScore, ...]

    def to_json(self) -> dict[str, Any]:
        """For `summary.json` of a run."""
        return asdict(self)


def evaluate(
    scores: Float32[np.ndarray, "n c"],
    labels: Int64[np.ndarray, " n"],
    *,
    categories: Sequence[str],
    evaluated: Sequence[str] = (),
    train_scores: Float32[np.ndarray, "m c"] | None = None,
    train_labels: Int64[np.ndarray, " m"] | None = None,
) -> Evaluation:
    """The scores of `scores` (log p, background first) of images with `labels` 0 to N.

    Thresholds are what as many of the training background score as a category has positives
    (`metrics.ranking.break_even_threshold`), where training scores are given; else they are 50%.
    """
    if scores.shape[1] != len(categories) + 1:
        raise ShapeError(f"{scores.shape[1]} columns of scores for {len(categories)} categories and background")
    decided = scores.argmax(1)
    each = []
    for ix, name in enumerate(categories, 1):
        if evaluated and name not in evaluated:
            continue
        threshold = EVEN
        if train_scores is not None and train_labels is not None:
            threshold = break_even_threshold(train_scores[:, ix], train_labels == ix)
        each.append(_scored(name, scores[:, ix], labels == ix, decided == ix, threshold))
    return _means(each)


def evaluate_known(
    scores: Float32[np.ndarray, "n k"],
    labels: Int64[np.ndarray, "n k"],
    *,
    categories: Sequence[str],
    train_scores: Float32[np.ndarray, "m k"],
    train_labels: Int64[np.ndarray, "m k"],
) -> Evaluation:
    """The scores (log p) of images that may show several categories, each on the images whose label for it is known.

    Labels are 1, 0 and `UNKNOWN`. Thresholds as in `evaluate`, of the training images whose label is known.
    """
    each = []
    for ix, name in enumerate(categories):
        known, known_train = labels[:, ix] != UNKNOWN, train_labels[:, ix] != UNKNOWN
        own, truth = scores[known, ix], labels[known, ix] == 1
        threshold = break_even_threshold(train_scores[known_train, ix], train_labels[known_train, ix] == 1)
        each.append(_scored(name, own, truth, own >= EVEN, threshold))
    return _means(each)


def _scored(name: str, scores: np.ndarray, truth: np.ndarray, decided: np.ndarray, threshold: float) -> CategoryScore:
    decision = binary_score(decided, truth)
    return CategoryScore(
        name,
        int(truth.sum()),
        average_precision(scores, truth),
        decision.f1,
        decision.precision,
        decision.recall,
        threshold,
        binary_score(scores >= threshold, truth).f1,
        len(truth),
        precision_recall(scores, truth),
    )


def _means(each: Sequence[CategoryScore]) -> Evaluation:
    return Evaluation(
        map=float(np.mean([one.ap for one in each])),
        f1=float(np.mean([one.f1 for one in each])),
        f1_threshold=float(np.mean([one.f1_threshold for one in each])),
        precision=float(np.mean([one.precision for one in each])),
        recall=float(np.mean([one.recall for one in each])),
        categories=tuple(each),
    )


def precision_recall(scores: np.ndarray, truth: np.ndarray) -> tuple[tuple[float, float], ...]:
    """(recall, precision) at each positive from the best score down, thinned to `CURVE_POINTS`."""
    ranked = truth[np.argsort(-scores, kind="stable")]
    at = np.flatnonzero(ranked)
    if not len(at):
        return ()
    found = np.arange(1, len(at) + 1)
    recall, precision = found / len(at), found / (at + 1)
    chosen = np.unique(np.linspace(0, len(at) - 1, min(CURVE_POINTS, len(at))).round().astype(int))
    return tuple((round(float(recall[ix]), 4), round(float(precision[ix]), 4)) for ix in chosen)
