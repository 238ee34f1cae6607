"""What a page shows at once."""

import numpy as np

from narrowcast.mine.batches import blended, diverse, most_alike, stacked, without
from narrowcast.mine.features import normalised
from narrowcast.mine.strategies import Candidates, Choice, most_likely


def candidates(num: int, *, has_model: bool = True, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    features = normalised(rng.normal(size=(num, 16))).astype(np.float16)
    return Candidates(
        scores=rng.normal(size=num).astype(np.float32),
        is_open=np.ones(num, bool),
        labels=np.zeros(num, np.int8),
        features=features,
        has_model=has_model,
    )


def test_a_blend_is_mostly_likely_and_says_why_each_is_there(rng: np.random.Generator) -> None:
    pool = candidates(500)
    choice = blended(most_likely)(pool, 24, rng)
    assert len(set(choice.pool_ix.tolist())) == 24
    assert 19 <= choice.reasons.count("likely") <= 21
    assert choice.reasons.count("boundary") == 3
    assert choice.pool_ix[0] == pool.scores.argmax()
    nearest = choice.pool_ix[choice.reasons.index("boundary")]
    assert abs(pool.scores[nearest]) == np.abs(pool.scores).min()


def test_without_a_model_there_is_no_boundary(rng: np.random.Generator) -> None:
    assert "boundary" not in blended(most_likely)(candidates(100, has_model=False), 24, rng).reasons


def test_a_blend_of_a_small_pool_has_every_photo_once(rng: np.random.Generator) -> None:
    choice = blended(most_likely)(candidates(7), 24, rng)
    assert sorted(choice.pool_ix.tolist()) == list(range(7))


def test_near_copies_are_stacked_behind_the_nearest_and_only_once() -> None:
    pool = candidates(60)
    pool.features[10:14] = pool.features[3]
    pool.features[20] = pool.features[5]
    pool.is_open[11] = False  # has a label already
    stacks = stacked(Choice(np.array([3, 5, 7]), ("likely",) * 3), pool)
    assert [set(stack.others) for stack in stacks] == [{10, 12, 13}, {20}, set()]
    assert stacked(Choice(np.zeros(0, np.int64), ()), pool) == []


def test_stacks_of_a_pool_that_ends() -> None:
    assert [stack.others for stack in stacked(Choice(np.arange(5), ("likely",) * 5), candidates(5))] == [()] * 5


def test_most_alike_is_a_search_by_cosine() -> None:
    pool = candidates(50)
    slow = (pool.features.astype(np.float64) @ pool.features[4].astype(np.float64)).argsort()[::-1]
    found = most_alike(pool.features, 4, pool.is_open, 6)
    assert found[0] == 4
    assert set(found.tolist()) == set(slow[:6].tolist())
    assert 4 not in most_alike(pool.features, 4, without(pool, [4]).is_open, 6)


def test_diverse_photos_differ(rng: np.random.Generator) -> None:
    features = np.repeat(np.eye(8, dtype=np.float16), 50, axis=0)  # eight kinds of photos
    drawn = diverse(features, np.ones(400, bool), 8, rng)
    assert sorted(drawn // 50) == list(range(8))  # by chance 8! / 8^8: 0.2%
    assert len(diverse(features, np.zeros(400, bool), 8, rng)) == 0
    assert len(diverse(features, np.arange(400) < 3, 8, rng)) == 3
