"""Algorithm 2: ask, learn, rank again; now and then learn features anew. A loop of frozen reports."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from narrowcast.mine.linear import LinearModel
from narrowcast.mine.miner import ASIDE, NEGATIVE, POSITIVE, Miner
from narrowcast.mine.strategies import Choice

Oracle = Callable[
    [Int64[np.ndarray, " n"]], Bool[np.ndarray, " n"]
]  # a person, or the truth: which of these are positive?


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What one batch of labels came to.

    Attributes:
        num_labels: asked so far, the seeds not counted.
        num_found: positives among them.
        choice, answers: what was asked in this round, and what was said.
        num_pseudo: pseudo-labels that the model was fitted with.
        model: what ranks the pool from now on, fitted where `has_model`, else the centroid.
        update: what became of new features, in the rounds that learned some.
    """

    num_labels: int
    num_found: int
    choice: Choice
    answers: Bool[np.ndarray, " n"]
    num_pseudo: int
    model: LinearModel
    has_model: bool
    update: "Promotion | None" = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """Whether new features are better on labels that nothing was fitted to, and by how much.

    Attributes:
        score, score_before: log loss gain over guessing (higher is better) on the labels that were set aside.
        error: standard error of their difference, over the photos that were set aside.
        is_promoted: whether the difference is at least one such error.
        reason: for people.
    """

    score: float
    score_before: float
    error: float
    is_promoted: bool
    reason: str


class FitFeatures(Protocol):
    """Learns features of a pool from labels: `fit(labels) -> features`.

    Labels are over the pool: 1 positive, −1 negative, −2 pseudo-negative, 0 unknown; several categories at once are
    columns, and a photo without a label in a column must not count there (section 4.3.1). It starts from where it was
    left. Features come back a row a photo, of any width.
    """

    def __call__(self, labels: Shaped[np.ndarray, "pool categories"]) -> Float[np.ndarray, "pool dim"]: ...


def mine(
    miner: Miner,
    oracle: Oracle,
    *,
    budget: int,
    batch: int = 10,
    update: Callable[[Miner], Promotion] | None = None,
    queries: int = 5,
) -> Generator[RoundReport, None, None]:
    """Lines 7 to 20 of Algorithm 2 for one category; ends at `budget` labels or with the pool.

    With the method `algorithm2` this is the thesis's loop, its holes mended: in the first round there is no R_ent, so
    R_pos is asked; pseudo-negatives are never labelled photos; while there is no negative of any kind the ranking stays
    that of the centroid; f_a(|L_p| + 0.1 |L_n|) is capped.

    Args:
        miner: holds the seeds (line 5).
        oracle: answers which of some photos are positive.
        batch: B, labels between two linear models (10 in section 4.3.1).
        update: learns new features every `queries`·B labels (line 19, Q = 5) and promotes them if they win.
    """
    num_labels = num_found = 0
    while num_labels < budget:
        choice = miner.ask(min(batch, budget - num_labels))  # lines 9 to 12
        if not len(choice):
            return
        answers = oracle(choice.pool_ix)
        miner.add(choice.pool_ix, np.where(answers, POSITIVE, NEGATIVE))  # lines 13, 16
        num_labels, num_found = num_labels + len(choice), num_found + int(answers.sum())
        miner.learn()  # lines 14, 15, 17, 18
        promotion = None
        if update is not None and num_labels % (queries * batch) == 0:
            promotion = update(miner)  # lines 19, 20
        miner.scores  # noqa: B018 - the model that ranks exists from here on
        assert miner.model is not None
        yield RoundReport(
            num_labels, num_found, choice, answers, miner.num_pseudo, miner.model, miner.has_model, promotion
        )


def is_known(miner: Miner) -> Bool[np.ndarray, " pool"]:
    """Which photos have a label."""
    return (miner.labels != 0) & (miner.labels != ASIDE)
