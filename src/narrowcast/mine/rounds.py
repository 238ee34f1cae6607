"""Algorithm 2: ask, learn, rank again; now and then learn features anew. A loop of frozen reports."""

import itertools
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from narrowcast.mine.linear import LinearModel
from narrowcast.mine.miner import ASIDE, NEGATIVE, POSITIVE, Miner
from narrowcast.mine.promotion import Promotion
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
    update: Promotion | None = None


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


@dataclass(frozen=True, slots=True)
class SharedReport:
    """One round of several categories; `update` in the rounds after which features were learned for all of them."""

    rounds: dict[str, RoundReport]
    update: Promotion | None = None


def mine_together(
    miners: Mapping[str, Miner],
    oracles: Mapping[str, Oracle],
    *,
    budget: int,
    batch: int = 10,
    update: Callable[[], Promotion] | None = None,
    queries: int = 5,
) -> Generator[SharedReport, None, None]:
    """Algorithm 2 for several categories that share their feature updates (section 4.3.1); each has its own budget.

    Args:
        update: learns features from the labels of all `miners` every `queries`·B labels and promotes them if they win;
            promoted ones are with the miners (`forget_features`) when it returns.
    """
    running = {name: mine(miner, oracles[name], budget=budget, batch=batch) for name, miner in miners.items()}
    for number in itertools.count(1):
        found = {name: report for name, rounds in running.items() if (report := next(rounds, None)) is not None}
        if not found:
            return
        promotion = update() if update is not None and number % queries == 0 else None
        if promotion is not None and promotion.is_promoted:
            found = {name: _anew(report, miners[name], promotion) for name, report in found.items()}
        yield SharedReport(found, promotion)


def _anew(report: RoundReport, miner: Miner, promotion: Promotion) -> RoundReport:
    """The report with the model in the new features."""
    miner.scores  # noqa: B018 - the model that ranks exists from here on
    assert miner.model is not None
    return replace(report, model=miner.model, has_model=miner.has_model, update=promotion)


def is_known(miner: Miner) -> Bool[np.ndarray, " pool"]:
    """Which photos have a label."""
    return (miner.labels != 0) & (miner.labels != ASIDE)
