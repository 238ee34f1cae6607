"""Shards of a pool and published ones are the same rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.fleet.shards import ShardList, open_shards, pool_shards, publish, read_features, read_items
from narrowcast.mine.pool import Pool


def all_rows(listed: ShardList) -> np.ndarray:
    return np.concatenate([read_features(shard) for shard in listed.shards])


def all_paths(listed: ShardList) -> list[str]:
    return [path for shard in listed.shards for path in read_items(shard)["path"].to_pylist()]


def test_the_shards_of_a_pool_are_its_features(make_pool, rows: np.ndarray) -> None:
    listed = make_pool(rows[:100], [30, 30, 71])
    pool = Pool.open(Path(listed.where))
    assert [shard.first_ix for shard in listed.shards] == [0, 30, 30, 71]
    assert np.array_equal(all_rows(listed), pool.features())
    assert all_paths(listed) == pool.paths()
    assert open_shards(listed.where) == listed


@pytest.mark.parametrize("shard_rows", [7, 64, 1000], ids=lambda num: f"{num} rows a shard")
def test_what_is_published_has_the_same_rows(make_pool, rows: np.ndarray, tmp_path: Path, shard_rows: int) -> None:
    listed = make_pool(rows[:100], [30, 71])
    reports = list(publish(listed, str(tmp_path / "there"), shard_rows=shard_rows))
    there = open_shards(str(tmp_path / "there"))
    assert [report.done for report in reports][-1] == 100
    assert {shard.num_rows for shard in there.shards[:-1]} <= {shard_rows}
    assert there.note == listed.note
    assert np.array_equal(all_rows(there), all_rows(listed))
    assert all_paths(there) == all_paths(listed)


def test_any_file_system_will_do(make_pool, rows: np.ndarray) -> None:
    listed = make_pool(rows[:50], [20])
    list(publish(listed, "memory://pools/birds", shard_rows=16))
    there = open_shards("memory://pools/birds")
    assert len(there.shards) == 4
    assert np.array_equal(all_rows(there), all_rows(listed))
    with pytest.raises(UsageError, match="published there already"):
        list(publish(listed, "memory://pools/birds"))


def test_what_is_not_there_is_said(make_pool, rows: np.ndarray, tmp_path: Path) -> None:
    listed = make_pool(rows[:50], [20])
    with pytest.raises(UsageError, match=r"holds no manifest\.json"):
        open_shards("memory://nothing")
    with pytest.raises(UsageError, match="is no pool"):
        open_shards(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="--features has no effect"):
        list(publish(listed, str(tmp_path / "there")))
        open_shards(str(tmp_path / "there"), "random")
    Path(listed.shards[1].features).unlink()
    with pytest.raises(UsageError, match="lacks shard 1"):
        pool_shards(Pool.open(Path(listed.where)))


def test_damage_is_said(make_pool, rows: np.ndarray, tmp_path: Path) -> None:
    listed = make_pool(rows[:50], [20])
    list(publish(listed, str(tmp_path / "there")))
    manifest = tmp_path / "there" / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["shards"][0]["num_rows"] = 49
    manifest.write_text(json.dumps(content), encoding="utf-8")
    shard = open_shards(str(tmp_path / "there")).shards[0]
    with pytest.raises(StorageError, match="expected 49 rows"):
        read_features(shard)
    with pytest.raises(StorageError, match="lists 50 photos"):
        read_items(shard)
    manifest.write_text("{", encoding="utf-8")
    with pytest.raises(StorageError, match="damaged"):
        open_shards(str(tmp_path / "there"))
