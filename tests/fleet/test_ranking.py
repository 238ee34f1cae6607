"""Ranking shards gives what sorting all scores gives, bit for bit, wherever it runs."""

import numpy as np
import pytest

from narrowcast.fleet.engines import processes, ray_tasks
from narrowcast.fleet.ranking import Best, error_bound, exact_scores, grouped, merge, named, rank
from narrowcast.fleet.shards import Shard, ShardList, read_features
from narrowcast.mine.linear import LinearModel


def sorted_all(listed: ShardList, model: LinearModel, num: int) -> tuple[list[int], list[float]]:
    """The slow, obvious way: every score in double precision, row by row, then one stable sort."""
    rows = np.concatenate([read_features(shard) for shard in listed.shards]).astype(np.float64)
    scores = np.array([row @ model.weights.astype(np.float64) + model.bias for row in rows], np.float32)
    order = np.argsort(-scores, kind="stable")[:num]
    return order.tolist(), scores[order].tolist()


def final(listed: ShardList, model: LinearModel, num: int, **how) -> Best:
    *_, last = rank(listed, model, num=num, **how)
    assert last.done == last.total == listed.num_rows
    return last.best


@pytest.fixture
def model(rng: np.random.Generator) -> LinearModel:
    return LinearModel((7 * rng.standard_normal(24)).astype(np.float32), -0.7)


@pytest.mark.parametrize("num", [1, 10, 1000, 2999, 3000, 5000])
@pytest.mark.parametrize("cuts", [[], [1500], [1, 2, 700, 700, 1999]], ids=["one shard", "two", "uneven, one empty"])
def test_the_top_is_that_of_one_sort(make_pool, rows: np.ndarray, model: LinearModel, num: int, cuts: list) -> None:
    listed = make_pool(rows, cuts)
    best = final(listed, model, num)
    assert (best.pool_ix.tolist(), best.scores.tolist()) == sorted_all(listed, model, num)


def test_ties_are_in_the_order_of_the_pool(make_pool, rows: np.ndarray, model: LinearModel) -> None:
    best = final(make_pool(rows, [811, 1700]), model, 1000)
    assert len(set(best.scores.tolist())) < 900  # there are ties
    for first, second in zip(range(999), range(1, 1000), strict=True):
        tied = best.scores[first] == best.scores[second]
        assert best.scores[first] > best.scores[second] or (tied and best.pool_ix[first] < best.pool_ix[second])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 300.0, 1e6], ids=lambda scale: f"weights of {scale:g}")
def test_candidates_leave_out_nothing(make_pool, rows: np.ndarray, rng: np.random.Generator, scale: float) -> None:
    model = LinearModel((scale * rng.standard_normal(24)).astype(np.float32), 0.0)
    listed = make_pool(rows, [1000])
    best = final(listed, model, 50)
    assert (best.pool_ix.tolist(), best.scores.tolist()) == sorted_all(listed, model, 50)


def test_the_bound_holds(make_pool, rows: np.ndarray, model: LinearModel) -> None:
    (shard,) = make_pool(rows, []).shards
    features = read_features(shard)
    rounded = model.scores(np.array(features)) - np.float32(model.bias)
    exact = exact_scores(features, LinearModel(model.weights, 0.0))
    assert np.abs(rounded - exact).max() < error_bound(model, float(np.abs(rounded).max()))


def test_the_photos_of_a_ranking_are_named(make_pool, rows: np.ndarray, model: LinearModel) -> None:
    listed = make_pool(rows, [1000, 2000])
    best = final(listed, model, 30)
    found = named(listed, best)
    assert [(one.pool_ix, one.path) for one in found] == [(ix, f"/photos/{ix}.jpg") for ix in best.pool_ix.tolist()]
    assert [one.score for one in found] == best.scores.tolist()


def test_small_shards_go_together() -> None:
    shards = [Shard("", "", 0, num) for num in (10, 50, 70, 5, 5)]
    assert [[shard.num_rows for shard in group] for group in grouped(shards, least_rows=60)] == [[10, 50], [70], [5, 5]]


def test_merging_nothing_is_nothing() -> None:
    empty = Best(np.zeros(0, np.int64), np.zeros(0, np.float32), 0)
    assert merge([empty, empty], num=5).num_scanned == 0


@pytest.mark.slow
@pytest.mark.parametrize("engine", [processes, ray_tasks])
def test_two_workers_give_the_same_over_eight_shards(make_pool, rng: np.random.Generator, engine) -> None:
    rows = rng.standard_normal((400_000, 24)).astype(np.float32)
    rows[::3] = rows[:50][rng.integers(0, 50, len(rows[::3]))]
    listed = make_pool(rows, list(range(50_000, 400_000, 50_000)))
    model = LinearModel(rng.standard_normal(24).astype(np.float32), 0.3)
    alone = final(listed, model, 1000)
    with engine(2) as two:
        shared = final(listed, model, 1000, engine=two)
    assert np.array_equal(alone.pool_ix, shared.pool_ix)
    assert np.array_equal(alone.scores.view(np.uint32), shared.scores.view(np.uint32))
