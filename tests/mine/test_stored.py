"""Rows on disk are what an array of them would be, and a pass over them can be ended between two shards."""

from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import StorageError
from narrowcast.mine.features import FeatureStore, VersionNote
from narrowcast.mine.linear import LinearModel
from narrowcast.mine.stored import StoredRows, blocks_of

SIZES = (5, 1, 0, 7, 4)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore.create(tmp_path, VersionNote(name="drawn", key="drawn", dim=6))
    rng = np.random.default_rng(0)
    for shard, num in enumerate(SIZES):
        made.write_shard(shard, rng.normal(size=(num, 6)))
    return made


@pytest.mark.parametrize(
    "ix",
    [
        pytest.param(slice(None), id="all"),
        pytest.param(slice(3, 9), id="a slice over shards"),
        pytest.param([16, 0, 5, 5, 6], id="a list, in its order and twice"),
        pytest.param(np.array([], np.int64), id="none"),
        pytest.param(np.arange(17) % 3 == 0, id="a mask"),
        pytest.param(-1, id="the last"),
        pytest.param(np.int64(6), id="one of a later shard"),
    ],
)
def test_rows_are_those_of_the_array(store: FeatureStore, ix: object) -> None:
    whole, stored = store.read(len(SIZES)), store.stored(len(SIZES))
    assert stored.shape == whole.shape == (17, 6)
    np.testing.assert_array_equal(stored[ix], whole[ix])  # type: ignore[call-overload]


def test_blocks_in_order_are_the_array(store: FeatureStore) -> None:
    whole, stored = store.read(len(SIZES)), store.stored(len(SIZES))
    found = np.zeros_like(whole)
    for start, rows in blocks_of(stored):
        found[start : start + len(rows)] = rows
    np.testing.assert_array_equal(found, whole)
    (block,) = blocks_of(whole)
    assert block[1] is whole


def test_scores_are_those_of_the_array(store: FeatureStore) -> None:
    model = LinearModel(np.random.default_rng(1).normal(size=6).astype(np.float32), 0.5)
    whole = model.scores(store.read(len(SIZES)))
    np.testing.assert_allclose(model.scores(store.stored(len(SIZES))), whole, atol=2e-3)  # one rounding to fp16


def test_a_pass_ends_at_a_pause(store: FeatureStore) -> None:
    asked = []

    def pause() -> None:
        asked.append(len(asked))
        if len(asked) == 3:
            raise KeyboardInterrupt

    rows = store.stored(len(SIZES), pause=pause)
    with pytest.raises(KeyboardInterrupt):
        list(rows.blocks())
    assert len(asked) == 3
    assert len(list(rows.blocks())) == len(SIZES) - 1  # and begins anew; one shard is empty


def test_a_file_that_is_gone_or_cut_off_is_named(store: FeatureStore) -> None:
    rows = store.stored(len(SIZES))
    path = store.shard_path(3)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(StorageError, match=r"00003\.npy.*cut off"):
        list(rows.blocks())
    path.unlink()
    with pytest.raises(StorageError, match=r"00003\.npy.*cannot be read"):
        rows[8]
    assert isinstance(rows, StoredRows)
