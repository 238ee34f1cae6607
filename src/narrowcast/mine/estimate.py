"""Knowing where one stands: a random sample, stratified by score, that nothing is trained on, and what follows from it.

Photos that have a label are known for sure; estimates are of the rest. Intervals are of the posterior with Jeffreys'
prior in each stratum; the stopping rule uses exact hypergeometric bounds, so it holds at least as often as it says.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.stats import hypergeom

from narrowcast.core.errors import ConfigError

DRAWS = 4000
EDGES = (0.001, 0.01, 0.1)  # shares of the ranking at which strata end: top 0.1%, 1%, 10%, the rest; ours
LEAST_STRATUM = 30  # photos; smaller strata join the next


@dataclass(frozen=True, slots=True)
class Stratum:
    """Photos between two places of a ranking, and those of them that were drawn."""

    pool_ix: Int64[np.ndarray, " n"]
    drawn: Int64[np.ndarray, " k"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What an audit says of the pool and of a threshold.

    Attributes:
        num_positive: positives in the whole pool.
        recall_of_labels: the share of them that has a positive label.
        precision, recall, f1: of what scores above the threshold, everything labelled included.
        num_audited: photos that it stands on.
        contamination: the share of positives in the lower half of the ranking, where pseudo-negatives come from.
    """

    num_positive: Interval
    recall_of_labels: Interval
    precision: Interval
    recall: Interval
    f1: Interval
    num_audited: int
    contamination: Interval


def draw_strata(
    scores: Float[np.ndarray, " pool"], is_open: Bool[np.ndarray, " pool"], *, num: int, rng: np.random.Generator
) -> list[Stratum]:
    """Cut the open photos' ranking into strata and draw `num` photos, an equal number from each where it has them.

    The top of the ranking, where the positives are, is drawn far more densely than the rest.
    """
    if num < 1:
        raise ConfigError(f"{num} photos to audit: must be positive")
    ranked = np.flatnonzero(is_open)
    ranked = ranked[np.argsort(-scores[ranked], kind="stable")]
    edges = [0, *(round(edge * len(ranked)) for edge in EDGES), len(ranked)]
    kept = [0]
    for edge in edges[1:]:
        if edge - kept[-1] >= min(LEAST_STRATUM, len(ranked)):
            kept.append(edge)
    kept[-1] = len(ranked)
    strata, left = [], min(num, len(ranked))
    for number, (first, last) in enumerate(itertools.pairwise(kept)):
        members = ranked[first:last]
        take = min(len(members), left // (len(kept) - 1 - number))
        strata.append(Stratum(members, np.sort(rng.permutation(members)[:take])))
        left -= take
    return strata


def standing(
    strata: Sequence[Stratum],
    answers: Mapping[int, bool],
    scores: Float[np.ndarray, " pool"],
    known: Mapping[int, bool],
    *,
    threshold: float = 0.0,
    confidence: float = 0.95,
    rng: np.random.Generator,
) -> Standing:
    """What the pool holds and what a threshold catches, with intervals.

    Args:
        strata: of the audit.
        answers: by pool_ix, what was said of the drawn photos; those without an answer count as not drawn.
        scores: of any model, over the pool; it need not be the one that the strata were cut by.
        known: by pool_ix, labels that were given outside of the audit.
    """
    middle = float(np.median(scores))
    both, num_called = _positives(strata, answers, known, scores > threshold, rng)
    others, _ = _positives(strata, answers, known, scores <= threshold, rng)
    low_half, num_low = _positives(strata, answers, known, scores < middle, rng)
    true, called = both + others, float(num_called)
    labelled = sum(known.values()) + sum(answers.values())
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return Standing(
            num_positive=_interval(true, tail),
            recall_of_labels=_interval(labelled / np.maximum(true, labelled).clip(1e-9), tail),
            precision=_interval(both / max(called, 1e-9), tail),
            recall=_interval(both / true.clip(1e-9), tail),
            f1=_interval(2 * both / (called + true).clip(1e-9), tail),
            num_audited=len(answers),
            contamination=_interval(low_half / max(1, num_low), tail),
        )


def most_missed(
    strata: Sequence[Stratum],
    answers: Mapping[int, bool],
    *,
    confidence: float,
    known: Mapping[int, bool] | None = None,
) -> int:
    """An upper bound of the positives that no one has seen: exact, at least that confident.

    Every stratum gets its share of the doubt; a stratum without a sample may be all positive.

    Args:
        known: by pool_ix, labels from outside of the audit, those that were given after it was drawn included.
    """
    seen = known or {}
    doubt = (1 - confidence) / max(1, len(strata))
    missed = 0
    for stratum in strata:
        drawn = [ix for ix in stratum.drawn.tolist() if ix in answers]
        hits = sum(answers[ix] for ix in drawn)
        later = sum(seen.get(ix, False) for ix in stratum.pool_ix.tolist()) if seen else 0
        most = most_positives(len(stratum.pool_ix), len(drawn), hits, doubt=doubt)
        missed += max(0, most - hits - later)
    return missed


def most_positives(num: int, drawn: int, hits: int, *, doubt: float) -> int:
    """The most positives among `num` of which a sample of `drawn` without repetition may have shown only `hits`.

    The largest K with P(hits or fewer | K) > doubt, by bisection: that chance falls with K.

    >>> most_positives(1000, 300, 0, doubt=0.05)
    8
    """
    low, high = hits, num - (drawn - hits)
    while low < high:
        middle = (low + high + 1) // 2
        if hypergeom.cdf(hits, num, middle, drawn) > doubt:
            low = middle
        else:
            high = middle - 1
    return low


def may_stop(
    num_found: int,
    strata: Sequence[Stratum],
    answers: Mapping[int, bool],
    *,
    target: float = 0.95,
    confidence: float = 0.95,
    known: Mapping[int, bool] | None = None,
) -> bool:
    """Whether at least `target` of all positives are found, at least `confidence` sure, for audits planned beforehand.

    Looking again after every answer and stopping at the first yes would spend the doubt many times over: audit a sample
    of a size that was decided before, then look once.

    Args:
        num_found: positives with a label, those of the audit included.
        known: as for `most_missed`.
    """
    return num_found >= target * (num_found + most_missed(strata, answers, confidence=confidence, known=known))


def labels_to_stop(num_open: int, num_found: int, *, target: float = 0.95, confidence: float = 0.95) -> int:
    """How many random open photos must all be negative before `may_stop` can say yes, with one stratum.

    >>> labels_to_stop(1000, 100)
    393
    """
    allowed = int(num_found / target - num_found)
    low, high = 0, num_open
    while low < high:
        middle = (low + high) // 2
        if most_positives(num_open, middle, 0, doubt=1 - confidence) <= allowed:
            high = middle
        else:
            low = middle + 1
    return low


def _positives(
    strata: Sequence[Stratum],
    answers: Mapping[int, bool],
    known: Mapping[int, bool],
    part: Bool[np.ndarray, " pool"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, " draws"], int]:
    """Draws of how many positives a part of the pool has, and how many photos it is."""
    found = np.full(DRAWS, float(sum(is_positive for ix, is_positive in known.items() if part[ix])))
    total = sum(bool(part[ix]) for ix in known)
    for stratum in strata:
        drawn = [ix for ix in stratum.drawn.tolist() if ix in answers and part[ix]]
        inside = stratum.pool_ix[part[stratum.pool_ix]]
        num_rest = len(inside) - len(drawn) - sum(ix in known for ix in inside.tolist())
        hits = sum(answers[ix] for ix in drawn)
        found += hits
        total += len(drawn) + num_rest
        if num_rest:
            shares = rng.beta(hits + 0.5, len(drawn) - hits + 0.5, DRAWS)
            found += rng.binomial(num_rest, shares)
    return found, total


def _interval(draws: Float[np.ndarray, " draws"], tail: float) -> Interval:
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(np.median(draws)), float(low), float(high))
