"""Are new features better? Judged on labels that no features were learned from; ours, the thesis promotes always.

Every fourth label of a category is set aside for good; which ones depends on category and photo alone. Features are
learned from the others. To judge them, a linear model is fitted to the others in the old and in the new features, and
the positives that were set aside are looked for among the photos that neither was told about. Photos without a label
count as negatives there, for both alike; so what only the new features see as positive counts against them.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from narrowcast.mine.miner import ASIDE, NEGATIVE, POSITIVE, Method, Miner, PoolFacts
from narrowcast.mine.stored import Rows

ONE_IN = 4  # labels; ours
FEWEST = 5  # positives set aside, below which nothing is promoted; ours


@dataclass(frozen=True, slots=True)
class Judgement:
    """One category: positives set aside, and their average precision in the new and the old features."""

    category: str
    positives: int
    score: float
    score_before: float


@dataclass(frozen=True, slots=True)
class Promotion:
    """Whether new features are better on labels that nothing was fitted to, and by how much.

    Attributes:
        score, score_before: average precision of the positives that were set aside, in the new and the old features;
            NaN where there are none.
        error: standard error of their difference, over those photos.
        is_promoted: whether the difference is at least one such error.
        reason: for people.
        categories: the same of each category that has such positives.
    """

    score: float
    score_before: float
    error: float
    is_promoted: bool
    reason: str
    categories: tuple[Judgement, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A category on trial.

    Attributes:
        labels: over the pool, as a miner's.
        is_aside: labels that no features were learned from.
        is_taught: photos that the new features were told anything of for this category, pseudo-labels included.
    """

    category: str
    method: Method
    labels: Shaped[np.ndarray, " pool"]
    is_aside: Bool[np.ndarray, " pool"]
    is_taught: Bool[np.ndarray, " pool"]


def set_aside(
    category: str, labels: Shaped[np.ndarray, " pool"], items: Sequence[str], *, one_in: int = ONE_IN
) -> Bool[np.ndarray, " pool"]:
    """Which labels features are never learned from: the same ones however many labels there are by now."""
    aside = np.zeros(len(labels), bool)
    for ix in np.flatnonzero((labels == POSITIVE) | (labels == NEGATIVE)):
        aside[ix] = zlib.crc32(f"{category}\0{items[int(ix)]}".encode()) % one_in == 0
    return aside


def judge(
    trials: Sequence[Trial],
    *,
    old: Rows,
    new: Float[np.ndarray, "pool dim2"],
    old_facts: PoolFacts | None = None,
) -> Promotion:
    """Compare two versions of features on what was set aside."""
    old_facts, new_facts = old_facts or PoolFacts(old), PoolFacts(new)
    found: list[Judgement] = []
    differences: list[Float64[np.ndarray, " n"]] = []
    for trial in trials:
        before = precisions(trial, old, old_facts)
        after = precisions(trial, new, new_facts)
        if len(before):
            found.append(Judgement(trial.category, len(before), float(after.mean()), float(before.mean())))
            differences.append(after - before)
    return _decide(found, np.concatenate(differences) if differences else np.zeros(0))


def _decide(found: list[Judgement], differences: Float64[np.ndarray, " n"]) -> Promotion:
    num = len(differences)
    if num < FEWEST:
        reason = f"{num} positives are set aside, {FEWEST} are needed to judge new features; label more"
        return Promotion(math.nan, math.nan, math.nan, False, reason, tuple(found))
    weights = np.array([one.positives for one in found]) / num
    score = float(weights @ [one.score for one in found])
    before = float(weights @ [one.score_before for one in found])
    gain, error = float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(num)
    is_promoted = gain > 0 and gain >= error
    verb = "better" if is_promoted else "not better"
    reason = (
        f"new features are {verb}: average precision of {num} positives set aside {score:.3f}, before {before:.3f};"
        f" difference {gain:+.3f} ± {error:.3f}"
    )
    return Promotion(score, before, error, is_promoted, reason, tuple(found))


def precisions(trial: Trial, features: Rows, facts: PoolFacts) -> Float64[np.ndarray, " n"]:
    """For each positive that was set aside, the precision of the ranking down to it; in the order of the pool.

    Empty where there are none, or where no linear model can be fitted to the others.
    """
    labels = np.where(trial.is_aside, ASIDE, trial.labels).astype(np.int8)
    positives = np.flatnonzero(trial.is_aside & (trial.labels == POSITIVE))
    if not len(positives) or not (labels == POSITIVE).any():
        return np.zeros(0)
    miner = Miner(features, trial.method, rng=np.random.default_rng(0), facts=facts)
    miner.add(np.arange(len(labels)), labels)
    miner.learn()
    is_negative = ~trial.is_taught & ((trial.labels == 0) | (trial.is_aside & (trial.labels == NEGATIVE)))
    negatives = np.sort(miner.scores[is_negative])
    scores = miner.scores[positives]
    above = len(negatives) - np.searchsorted(negatives, scores, side="left")
    rank = (scores[None, :] >= scores[:, None]).sum(1)
    return rank / (rank + above)
