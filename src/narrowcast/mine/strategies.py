"""Which photos to ask about next: pure functions of scores, what is open, and a generator of random numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from scipy.special import expit

from narrowcast.mine.stored import Rows

NEAR_COPY = 0.97  # cosine above which two photos count as the same moment; ours
LOOK_AHEAD = 5  # how many times a batch is looked at for a diverse one; ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What a strategy may look at. All arrays are over the pool.

    Attributes:
        scores: of the current model; logits where `has_model`, else cosines to the centroid.
        is_open: may be asked about: not labelled, not put aside.
        labels: 1 positive, −1 negative, 0 unknown.
        features: normalised, for how alike photos are.
        has_model: whether 0 is a boundary: before the first model there is none.
    """

    scores: Float[np.ndarray, " pool"]
    is_open: Bool[np.ndarray, " pool"]
    labels: Shaped[np.ndarray, " pool"]
    features: Rows
    has_model: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Photos to ask about, the first first, and why each is among them."""

    pool_ix: Int64[np.ndarray, " n"]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pool_ix)


Strategy = Callable[[Candidates, int, np.random.Generator], Choice]


def most_likely(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
    """The highest scores: what Tropel asks, and line 10 of Algorithm 2."""
    return _all(top(candidates.scores, candidates.is_open, num), "most likely")


def margin(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
    """The scores nearest to the boundary (line 12 of Algorithm 2); without a model, the most likely."""
    if not candidates.has_model:
        return most_likely(candidates, num, rng)
    return _all(top(-np.abs(candidates.scores), candidates.is_open, num), "at the boundary")


def entropy(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
    """The highest entropy of the model's probability. With two classes that is the order of `margin`."""
    if not candidates.has_model:
        return most_likely(candidates, num, rng)
    chance = expit(np.abs(candidates.scores).astype(np.float64))
    # −p log p − q log q, with log q = log p − |score|; far from the boundary it underflows into ties
    doubt = -np.log(chance) + (1 - chance) * np.abs(candidates.scores)
    return _all(top(doubt, candidates.is_open, num), "least certain")


def at_random(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
    """Uniform over what is open."""
    return _all(rng.permutation(np.flatnonzero(candidates.is_open))[:num], "at random")


def switch(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
    """The thesis's switch (lines 9 to 12): while |L_p| < |L_n| the most likely, else at the boundary."""
    if (candidates.labels == 1).sum() < (candidates.labels == -1).sum():
        return most_likely(candidates, num, rng)
    return margin(candidates, num, rng)


def likely_boundary(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
    """Of the likeliest few batches the least certain, no two of them alike; ours."""
    if not candidates.has_model:
        return distinct(most_likely)(candidates, num, rng)
    likely = top(candidates.scores, candidates.is_open, 2 * LOOK_AHEAD * num)
    nearest = likely[np.argsort(np.abs(candidates.scores[likely]), kind="stable")]
    return _all(spread(nearest, candidates.features, num, alike=0.9), "likely, near the boundary")


def threshold_search(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
    """Both sides of the score that parts the labels best (the one-dimensional search of GALAXY and DIRECT).

    A model of few labels places its boundary badly; near the cut with the fewest mistakes on the labels so far the next
    ones tell most.
    """
    known = candidates.labels != 0
    if not candidates.has_model or not (candidates.labels == -1).any():
        return most_likely(candidates, num, rng)
    cut = best_cut(candidates.scores[known], candidates.labels[known] == 1)
    return _all(top(-np.abs(candidates.scores - cut), candidates.is_open, num), "at the best cut")


def with_exploration(strategy: Strategy, share: float) -> Strategy:
    """`strategy`, with a share of every batch drawn at random."""

    def mixed(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
        drawn = at_random(candidates, int(rng.binomial(num, share)), rng)
        is_open = candidates.is_open.copy()
        is_open[drawn.pool_ix] = False
        rest = Candidates(
            scores=candidates.scores,
            is_open=is_open,
            labels=candidates.labels,
            features=candidates.features,
            has_model=candidates.has_model,
        )
        chosen = strategy(rest, num - len(drawn), rng)
        return Choice(np.concatenate([chosen.pool_ix, drawn.pool_ix]), chosen.reasons + ("exploration",) * len(drawn))

    return mixed


def distinct(strategy: Strategy, *, alike: float = NEAR_COPY) -> Strategy:
    """`strategy`, but of photos that are nearly the same (a burst) one at a time; the others wait for the next."""

    def chosen(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
        wide = strategy(candidates, LOOK_AHEAD * num, rng)
        kept = spread(wide.pool_ix, candidates.features, num, alike=alike)
        reasons = dict(zip(wide.pool_ix.tolist(), wide.reasons, strict=True))
        return Choice(kept, tuple(reasons[ix] for ix in kept.tolist()))

    return chosen


def top(values: Float[np.ndarray, " pool"], is_open: Bool[np.ndarray, " pool"], num: int) -> Int64[np.ndarray, " n"]:
    """The `num` open places with the highest values, the highest first; ties in the order of the pool."""
    places = np.flatnonzero(is_open)
    found = values[places]
    if num < len(places):
        least = np.partition(found, len(found) - num)[len(found) - num] if num else np.inf
        inside = found >= least
        places, found = places[inside], found[inside]
    return places[np.argsort(-found, kind="stable")][:num]


def spread(pool_ix: Int64[np.ndarray, " n"], features: Rows, num: int, *, alike: float) -> Int64[np.ndarray, " m"]:
    """The first `num` of `pool_ix` of which no two have a cosine of `alike`; where too few are left, others."""
    rows = features[pool_ix].astype(np.float32)
    kept: list[int] = []
    for place in range(len(pool_ix)):
        if len(kept) == num:
            break
        if not kept or float((rows[kept] @ rows[place]).max()) < alike:
            kept.append(place)
    skipped = [place for place in range(len(pool_ix)) if place not in kept]
    return pool_ix[sorted(kept + skipped[: num - len(kept)])]


def best_cut(scores: Float[np.ndarray, " n"], is_positive: Bool[np.ndarray, " n"]) -> float:
    """The threshold with the fewest mistakes on both sides, in the middle of its gap."""
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order].astype(np.float64), is_positive[order]
    # mistakes of a cut below place k: positives below it and negatives from it on
    mistakes = np.append(0, np.cumsum(positive)) + np.append(np.cumsum(~positive[::-1])[::-1], 0)
    edges = np.concatenate([[ranked[0]], (ranked[1:] + ranked[:-1]) / 2, [ranked[-1]]])
    return float(edges[int(mistakes.argmin())])


def _all(pool_ix: Int64[np.ndarray, " n"], reason: str) -> Choice:
    return Choice(pool_ix, (reason,) * len(pool_ix))
