"""Pseudo-labels: as many as the formula says, from where it says, never a labelled photo."""

import numpy as np
import pytest

from narrowcast.mine import negatives
from narrowcast.mine.methods import METHODS
from narrowcast.mine.miner import PoolFacts
from narrowcast.mine.negatives import Known, PseudoLabels, neighbour_graph, spread_labels


def known(num: int = 400, *, positives: int = 5, negative: int = 20, has_model: bool = True) -> Known:
    rng = np.random.default_rng(0)
    labels = np.zeros(num, np.int8)
    labels[rng.permutation(num)[: positives + negative]] = [1] * positives + [-1] * negative
    features = rng.standard_normal((num, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Known(
        rank=lambda: features[:, 0] * 9,
        labels=labels,
        is_free=labels == 0,
        features=features,
        has_model=has_model,
        graph=PoolFacts(features).graph,
    )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("negative", "has_model"), [(20, True), (0, False), (395, True)])
def test_the_contract_of_pseudo_labels(name: str, negative: int, has_model: bool) -> None:
    given = known(negative=negative, has_model=has_model)
    found = METHODS[name].make_pseudo()(given, np.random.default_rng(1))
    assert len(found.pool_ix) == len(found.is_positive) == len(found.weights) == len(set(found.pool_ix.tolist()))
    assert given.is_free[found.pool_ix].all()
    assert (found.weights >= 0).all()


@pytest.mark.parametrize(("fraction", "expected"), [(0, 0), (4, 28), (25, 175), (100, 187)])
def test_the_bottom_half_gives_what_the_formula_says(fraction: float, expected: int) -> None:
    """f_a (5 + 0.1 · 20), at most half of the 375 that are free."""
    given = known()
    found = negatives.bottom_half(fraction, most=1000)(given, np.random.default_rng(0))
    assert len(found.pool_ix) == expected
    below = np.sort(given.scores[given.is_free])[: 375 // 2]
    assert set(given.scores[found.pool_ix]) <= set(below)
    assert len(negatives.bottom_half(100, most=30)(given, np.random.default_rng(0)).pool_ix) == 30


def test_fixed_negatives_stay_but_for_the_labelled() -> None:
    draw: PseudoLabels = negatives.fixed(50)
    rng, given = np.random.default_rng(0), known()
    first = draw(given, rng).pool_ix
    is_free = given.is_free.copy()
    is_free[first[:3]] = False
    later = Known(
        rank=lambda: -given.scores,
        labels=given.labels,
        is_free=is_free,
        features=given.features,
        has_model=True,
        graph=given.graph,
    )
    assert draw(later, rng).pool_ix.tolist() == first[3:].tolist()


def test_confidence_makes_positives_as_well() -> None:
    given = known()
    found = negatives.confident(100, most=1000, confidence=0.9)(given, np.random.default_rng(0))
    limit = np.log(9)
    assert (given.scores[found.pool_ix[found.is_positive]] >= limit - 1e-5).all()
    assert (given.scores[found.pool_ix[~found.is_positive]] <= -limit + 1e-5).all()
    assert found.is_positive.any()


def test_labels_spread_along_the_graph() -> None:
    """Two clusters: what is seeded in one stays in it; against the dense inverse."""
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(8)[:2], 20, 0)
    features = (centres + 0.1 * rng.standard_normal((40, 8))).astype(np.float32)
    graph = neighbour_graph(features / np.linalg.norm(features, axis=1, keepdims=True), 6)
    seeds = np.arange(40) == 3
    found = spread_labels(graph, seeds, 0.9)
    expected = np.linalg.solve(np.eye(40) - 0.9 * graph.toarray(), seeds.astype(float))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[:20].min() > 100 * found[20:].max()
