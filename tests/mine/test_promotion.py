"""New features are promoted where they find what was set aside, and only there."""

import numpy as np
import pytest

from narrowcast.metrics.ranking import average_precision
from narrowcast.mine.features import normalised
from narrowcast.mine.methods import METHODS
from narrowcast.mine.miner import ASIDE, Miner, PoolFacts
from narrowcast.mine.promotion import Trial, judge, precisions, set_aside

NUM, DIM = 400, 16
ITEMS = [f"photo-{ix}" for ix in range(NUM)]


def features(rng: np.random.Generator, truth: np.ndarray, strength: float) -> np.ndarray:
    """Noise, and as far into one direction as `strength` for what is sought."""
    rows = rng.normal(size=(NUM, DIM))
    rows[:, 0] += strength * truth
    return normalised(rows)


def a_trial(rng: np.random.Generator, truth: np.ndarray) -> Trial:
    labels = np.zeros(NUM, np.int8)
    labels[rng.permutation(np.flatnonzero(truth))[:40]] = 1
    labels[rng.permutation(np.flatnonzero(~truth))[:40]] = -1
    aside = set_aside("owl", labels, ITEMS)
    return Trial("owl", METHODS["tropel-rn100"], labels, aside, (labels != 0) & ~aside)


@pytest.fixture
def truth() -> np.ndarray:
    return np.arange(NUM) % 8 == 0  # 50 of 400


def test_the_same_labels_stay_aside(rng: np.random.Generator) -> None:
    few = np.zeros(NUM, np.int8)
    few[:100] = 1
    many = few.copy()
    many[100:300] = -1
    first, second = set_aside("owl", few, ITEMS), set_aside("owl", many, ITEMS)
    assert np.array_equal(first[:100], second[:100])
    assert not second[300:].any()
    assert 0.15 < second[:300].mean() < 0.35
    assert not np.array_equal(second, set_aside("heron", many, ITEMS))


def test_precisions_are_those_of_a_ranking(rng: np.random.Generator, truth: np.ndarray) -> None:
    trial, rows = a_trial(rng, truth), features(rng, truth, 2.0)
    miner = Miner(rows, trial.method, rng=np.random.default_rng(0))
    miner.add(np.arange(NUM), np.where(trial.is_aside, ASIDE, trial.labels))
    miner.learn()
    asked = (trial.is_aside | (trial.labels == 0)) & ~trial.is_taught
    slow = average_precision(miner.scores[asked], (trial.labels == 1)[asked])
    assert precisions(trial, rows, PoolFacts(rows)).mean() == pytest.approx(slow)


def test_what_wins_is_promoted_and_what_loses_is_not(rng: np.random.Generator, truth: np.ndarray) -> None:
    trial = a_trial(rng, truth)
    good, bad = features(rng, truth, 4.0), features(rng, truth, 1.0)
    better, worse = judge([trial], old=bad, new=good), judge([trial], old=good, new=bad)
    assert better.is_promoted
    assert not worse.is_promoted
    assert better.score == pytest.approx(worse.score_before)
    assert better.score - better.score_before > 3 * better.error
    assert "new features are better: average precision of" in better.reason
    assert "new features are not better" in worse.reason
    assert not judge([trial], old=good, new=good).is_promoted  # no difference is no win


def test_too_few_labels_promote_nothing(rng: np.random.Generator, truth: np.ndarray) -> None:
    trial = a_trial(rng, truth)
    few = Trial("owl", trial.method, trial.labels, trial.is_aside & (np.arange(NUM) < 20), trial.is_taught)
    found = judge([few], old=features(rng, truth, 0.0), new=features(rng, truth, 9.0))
    assert not found.is_promoted
    assert "5 are needed to judge" in found.reason
