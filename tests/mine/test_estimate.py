"""Bounds hold as often as they say: checked by simulation, and against the slow definition."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from narrowcast.core.errors import ConfigError
from narrowcast.mine.estimate import (
    Stratum,
    draw_strata,
    labels_to_stop,
    may_stop,
    most_missed,
    most_positives,
    standing,
)


def world(rng: np.random.Generator, num: int = 3000, positives: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Scores that rank positives well, not perfectly."""
    truth = np.zeros(num, bool)
    truth[rng.permutation(num)[:positives]] = True
    return rng.standard_normal(num) + 2.5 * truth - 2, truth


def test_the_top_is_drawn_more_densely_and_nothing_twice() -> None:
    rng = np.random.default_rng(0)
    scores, truth = world(rng, 50_000)
    is_open = ~truth
    strata = draw_strata(scores, is_open, num=200, rng=rng)
    assert sum(len(s.drawn) for s in strata) == 200
    members = np.concatenate([s.pool_ix for s in strata])
    assert sorted(members.tolist()) == np.flatnonzero(is_open).tolist()
    assert [len(s.drawn) for s in strata] == [50, 50, 50, 50]
    assert all(set(s.drawn.tolist()) <= set(s.pool_ix.tolist()) for s in strata)
    assert scores[strata[0].pool_ix].min() >= scores[strata[-1].pool_ix].max()
    with pytest.raises(ConfigError):
        draw_strata(scores, is_open, num=0, rng=rng)


@pytest.mark.parametrize("num", [1, 5, 40, 99])
def test_small_pools_are_drawn_whole_at_most(num: int) -> None:
    rng = np.random.default_rng(0)
    strata = draw_strata(rng.standard_normal(40), np.ones(40, bool), num=num, rng=rng)
    assert sum(len(s.drawn) for s in strata) == min(num, 40)


@pytest.mark.parametrize(("num", "drawn", "hits"), [(30, 10, 0), (30, 10, 3), (30, 30, 7), (30, 0, 0), (5, 2, 2)])
def test_the_bound_is_the_largest_that_is_not_too_unlikely(num: int, drawn: int, hits: int) -> None:
    possible = range(hits, num - (drawn - hits) + 1)
    slow = max([k for k in possible if hypergeom.cdf(hits, num, k, drawn) > 0.05], default=hits)
    assert most_positives(num, drawn, hits, doubt=0.05) == slow


def test_stopping_holds_as_often_as_it_says() -> None:
    """95% of the positives found, 95% sure: of 150 searches that ended at the wrong moment few may be let go."""
    rng, wrong, yes = np.random.default_rng(0), 0, 0
    for _ in range(150):
        num = 400
        found, left = 100, int(rng.integers(0, 14))  # 100 / 106 and fewer is below 95%
        truth = np.zeros(num, bool)
        truth[:left] = True
        scores = rng.standard_normal(num) + truth
        strata = draw_strata(scores, np.ones(num, bool), num=int(rng.integers(100, 380)), rng=rng)
        answers = {ix: bool(truth[ix]) for stratum in strata for ix in stratum.drawn.tolist()}
        seen = found + sum(answers.values())
        says = may_stop(seen, strata, answers)
        yes += says
        wrong += says and seen < 0.95 * (found + left)
    assert yes > 10
    # at most 5% of all searches may be stopped wrongly: 8 of 150 expected at worst; 17 has p < 1e-3
    assert wrong <= 8


def test_what_was_found_later_is_not_missed() -> None:
    stratum = Stratum(np.arange(100), np.arange(60))
    answers = dict.fromkeys(range(60), False)
    before = most_missed([stratum], answers, confidence=0.95)
    after = most_missed([stratum], answers, confidence=0.95, known={70: True, 71: True, 72: False})
    assert after == before - 2


def test_how_many_labels_a_stop_needs() -> None:
    num = labels_to_stop(400, 100)
    assert most_positives(400, num, 0, doubt=0.05) <= 5 < most_positives(400, num - 1, 0, doubt=0.05)


@pytest.mark.parametrize("num", [400])
def test_intervals_cover_the_truth(num: int) -> None:
    """25 audits: 95% intervals miss 1 or 2 of them; 7 or more with p < 1e-3."""
    missed = dict.fromkeys(("num_positive", "precision", "recall", "f1", "recall_of_labels"), 0)
    rng = np.random.default_rng(1)
    for _ in range(25):
        scores, truth = world(rng)
        known = {int(ix): bool(truth[ix]) for ix in np.argsort(-scores)[:60]}
        is_open = np.ones(len(scores), bool)
        is_open[list(known)] = False
        strata = draw_strata(scores, is_open, num=num, rng=rng)
        answers = {ix: bool(truth[ix]) for stratum in strata for ix in stratum.drawn.tolist()}
        found = standing(strata, answers, scores, known, rng=rng)
        called = scores > 0
        hits = (called & truth).sum()
        expected = {
            "num_positive": truth.sum(),
            "precision": hits / called.sum(),
            "recall": hits / truth.sum(),
            "f1": 2 * hits / (called.sum() + truth.sum()),
            "recall_of_labels": (sum(known.values()) + sum(answers.values())) / truth.sum(),
        }
        for name, value in expected.items():
            interval = getattr(found, name)
            missed[name] += not interval.low - 1e-9 <= value <= interval.high + 1e-9
        assert found.num_audited == num
        assert found.contamination.low <= found.contamination.high
    assert max(missed.values()) <= 6, missed


def test_a_pool_that_was_labelled_whole_is_known_for_sure() -> None:
    rng = np.random.default_rng(0)
    scores, truth = world(rng, 100, 20)
    strata = draw_strata(scores, np.ones(100, bool), num=100, rng=rng)
    answers = {ix: bool(truth[ix]) for ix in range(100)}
    found = standing(strata, answers, scores, {}, rng=rng)
    assert found.num_positive.low == found.num_positive.high == 20
    assert may_stop(20, strata, answers)
