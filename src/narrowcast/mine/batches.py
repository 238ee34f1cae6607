"""What a page shows at once: the likely, some at the boundary, some at random, and near copies stacked on one photo."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int64

from narrowcast.mine.linear import LinearModel
from narrowcast.mine.stored import Rows
from narrowcast.mine.strategies import NEAR_COPY, Candidates, Choice, Strategy, at_random, margin, top

BOUNDARY_SHARE, EXPLORE_SHARE = 1 / 8, 1 / 24  # of a page; ours: few, since the likely find most (docs/mine-results.md)
STACK_AMONG = 40  # times the page: so many of the likeliest are looked at for near copies
MOST_STACKED = 12  # on one photo; ours: more hide too much behind one key


@dataclass(frozen=True, slots=True)
class Stack:
    """A photo to show with its near copies behind it, the nearest first."""

    pool_ix: int
    reason: str
    others: tuple[int, ...] = ()


def blended(likely: Strategy, *, boundary: float = BOUNDARY_SHARE, explore: float = EXPLORE_SHARE) -> Strategy:
    """`likely`, with shares of every batch at the boundary and at random, which say what the ranking does not know."""

    def blend(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
        num_explore = int(num * explore + rng.random()) if num > 1 else 0
        num_boundary = round((num - num_explore) * boundary) if candidates.has_model else 0
        first = likely(candidates, num - num_explore - num_boundary, rng)
        second = margin(without(candidates, first.pool_ix), num_boundary, rng)
        taken = np.concatenate([first.pool_ix, second.pool_ix])
        third = at_random(without(candidates, taken), num_explore, rng)
        reasons = ("likely",) * len(first) + ("boundary",) * len(second) + ("explore",) * len(third)
        return Choice(np.concatenate([taken, third.pool_ix]), reasons)

    return blend


def without(candidates: Candidates, taken: Int64[np.ndarray, " n"] | Sequence[int]) -> Candidates:
    """The candidates but for these."""
    is_open = candidates.is_open.copy()
    is_open[taken] = False
    return replace(candidates, is_open=is_open)


def stacked(choice: Choice, candidates: Candidates, *, alike: float = NEAR_COPY) -> list[Stack]:
    """The chosen photos with their near copies among the likeliest open ones; no photo is in two stacks."""
    chosen = choice.pool_ix
    if not len(chosen):
        return []
    is_open = candidates.is_open.copy()
    is_open[chosen] = False
    others = top(candidates.scores, is_open, STACK_AMONG * len(chosen))
    likeness = _rows(candidates.features, others) @ _rows(candidates.features, chosen).T
    nearest = likeness.argmax(1) if len(others) else np.zeros(0, np.int64)
    best = likeness.max(1) if len(others) else np.zeros(0, np.float32)
    stacks = []
    for place, (pool_ix, reason) in enumerate(zip(chosen.tolist(), choice.reasons, strict=True)):
        mine = np.flatnonzero((nearest == place) & (best >= alike))
        mine = mine[np.argsort(-best[mine], kind="stable")][:MOST_STACKED]
        stacks.append(Stack(pool_ix, reason, tuple(others[mine].tolist())))
    return stacks


def most_alike(features: Rows, pool_ix: int, is_open: Bool[np.ndarray, " pool"], num: int) -> Int64[np.ndarray, " n"]:
    """The open photos that are most like one photo, by cosine."""
    likeness = LinearModel(features[pool_ix].astype(np.float32), 0.0).scores(features)
    return top(likeness, is_open, num)


def diverse(
    features: Rows, is_open: Bool[np.ndarray, " pool"], num: int, rng: np.random.Generator
) -> Int64[np.ndarray, " n"]:
    """Open photos that differ from each other: of many random ones, each the farthest from those before.

    What is shown of a category that has no example yet.
    """
    drawn = rng.permutation(np.flatnonzero(is_open))[: 20 * num]
    rows = _rows(features, drawn)
    kept = [0] if len(drawn) else []
    nearest = rows @ rows[0] if len(drawn) else np.zeros(0, np.float32)
    while len(kept) < min(num, len(drawn)):
        nearest[kept[-1]] = np.inf
        kept.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, rows @ rows[kept[-1]])
    return drawn[kept]


def _rows(features: Rows, pool_ix: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n dim"]:
    return features[pool_ix].astype(np.float32)
