"""Every strategy asks only what is open, in the order that its rule says."""

import numpy as np
import pytest

from narrowcast.mine import strategies
from narrowcast.mine.methods import METHODS
from narrowcast.mine.strategies import Candidates, best_cut, spread, top


def candidates(num: int = 60, *, has_model: bool = True, positives: int = 3, negatives: int = 9) -> Candidates:
    rng = np.random.default_rng(0)
    labels = np.zeros(num, np.int8)
    labels[rng.permutation(num)[: positives + negatives]] = [1] * positives + [-1] * negatives
    features = rng.standard_normal((num, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    scores = rng.standard_normal(num).astype(np.float32) * 3
    return Candidates(scores=scores, is_open=labels == 0, labels=labels, features=features, has_model=has_model)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("has_model", [True, False])
@pytest.mark.parametrize("num", [1, 10, 100])
def test_the_contract_of_strategies(name: str, has_model: bool, num: int) -> None:
    given = candidates(has_model=has_model)
    ask = METHODS[name].ask
    choice = ask(given, num, np.random.default_rng(1))
    assert len(choice) == len(choice.reasons) == len(set(choice.pool_ix.tolist())) == min(num, 48)
    assert given.is_open[choice.pool_ix].all()
    again = ask(given, num, np.random.default_rng(1))
    np.testing.assert_array_equal(choice.pool_ix, again.pool_ix)


def test_the_likeliest_and_the_nearest_to_the_boundary() -> None:
    given, rng = candidates(), np.random.default_rng(0)
    places = [ix for ix in range(60) if given.is_open[ix]]
    likely = sorted(places, key=lambda ix: -given.scores[ix])[:7]
    nearest = sorted(places, key=lambda ix: abs(given.scores[ix]))[:7]
    assert strategies.most_likely(given, 7, rng).pool_ix.tolist() == likely
    assert strategies.margin(given, 7, rng).pool_ix.tolist() == nearest
    assert strategies.entropy(given, 7, rng).pool_ix.tolist() == nearest


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        pytest.param(3, 9, "most likely", id="fewer positives: the likeliest"),
        pytest.param(6, 6, "at the boundary", id="as many: the boundary"),
        pytest.param(9, 3, "at the boundary", id="more: the boundary"),
    ],
)
def test_the_switch_of_algorithm_2(positives: int, negatives: int, expected: str) -> None:
    given = candidates(positives=positives, negatives=negatives)
    assert set(strategies.switch(given, 5, np.random.default_rng(0)).reasons) == {expected}


def test_without_a_model_there_is_no_boundary() -> None:
    given = candidates(has_model=False, positives=9, negatives=3)
    assert set(strategies.switch(given, 5, np.random.default_rng(0)).reasons) == {"most likely"}


def test_ties_are_asked_in_the_order_of_the_pool() -> None:
    is_open = np.ones(9, bool)
    is_open[1] = False
    assert top(np.array([0, 9, 1, 1, 1, 1, 0, 2, 0.0]), is_open, 3).tolist() == [7, 2, 3]
    assert top(np.zeros(9), is_open, 0).tolist() == []


def slow_cut(scores: np.ndarray, positive: np.ndarray) -> int:
    """The fewest mistakes of any threshold, by trying them all."""
    cuts = [-np.inf, *scores, np.inf]
    return min(int(((scores > cut) & ~positive).sum() + ((scores <= cut) & positive).sum()) for cut in cuts)


def test_the_best_cut_makes_the_fewest_mistakes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.permutation(12).astype(float)
        positive = rng.random(12) < 0.4
        cut = best_cut(scores, positive)
        mistakes = int(((scores > cut) & ~positive).sum() + ((scores < cut) & positive).sum())
        assert mistakes <= slow_cut(scores, positive)


def test_of_a_burst_one_is_asked_and_the_others_fill_up() -> None:
    rows = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 3]]
    order = np.arange(6)
    assert spread(order, rows, 4, alike=0.97).tolist() == [0, 3, 4, 5]
    assert spread(order, rows, 5, alike=0.97).tolist() == [0, 1, 3, 4, 5]
    given = Candidates(
        scores=np.arange(6, 0, -1.0), is_open=np.ones(6, bool), labels=np.zeros(6), features=rows, has_model=True
    )
    asked = strategies.distinct(strategies.most_likely)(given, 2, np.random.default_rng(0))
    assert asked.pool_ix.tolist() == [0, 3]


def test_a_share_is_explored() -> None:
    given = candidates(num=2000)
    ask = strategies.with_exploration(strategies.most_likely, 0.2)
    reasons = ask(given, 500, np.random.default_rng(0)).reasons
    assert 60 < reasons.count("exploration") < 140  # 100 ± 9 expected: ± 4.5 of them
