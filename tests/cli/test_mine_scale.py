"""`narrowcast mine rank` and `mine publish`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from narrowcast.cli import _mine_scale
from narrowcast.core.errors import UsageError, WeightsError
from narrowcast.mine.features import FeatureStore, VersionNote
from narrowcast.mine.head import Head, save_head
from narrowcast.mine.linear import LinearModel
from narrowcast.mine.pool import Pool

ALONE = _mine_scale.Where(num_workers=1, engine="processes", address=None)


@pytest.fixture
def pool(tmp_path: Path, rng: np.random.Generator) -> Path:
    pool = Pool.create(tmp_path / "pool")
    store = FeatureStore.create(pool.path, VersionNote(name="random", key="random", dim=8))
    store.write_shard(0, rng.standard_normal((40, 8)).astype(np.float32))
    numbers = {"size_bytes": 1, "mtime_ns": 0, "offset": -1, "width": 8, "height": 8, "status": "ok", "reason": ""}
    pool.write_items(0, [{"path": f"/photos/{ix}.jpg", "item": f"{ix:032x}", **numbers} for ix in range(40)])
    return pool.path


@pytest.fixture
def head(tmp_path: Path, rng: np.random.Generator) -> Path:
    model = LinearModel(rng.standard_normal(8).astype(np.float32), 0.1)
    save_head(Head("owl", model, "random", "random"), tmp_path / "owl.safetensors")
    return tmp_path / "owl.safetensors"


def rank(head: Path, pool: str, **how) -> None:
    given = {"num": 5, "version": None, "where": ALONE, "out": None, "as_json": True} | how
    _mine_scale.rank(head, pool, **given)


def test_a_pool_and_what_is_published_of_it_rank_alike(
    head: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rank(head, str(pool))
    first = json.loads(capsys.readouterr().out)
    _mine_scale.publish(pool, str(tmp_path / "there"), version=None, shard_rows=7)
    capsys.readouterr()
    rank(head, str(tmp_path / "there"))
    assert json.loads(capsys.readouterr().out) == first
    assert len(first) == 5
    assert [one["score"] for one in first] == sorted((one["score"] for one in first), reverse=True)


def test_a_ranking_goes_to_a_table(head: Path, pool: Path, tmp_path: Path) -> None:
    rank(head, str(pool), num=100, out=tmp_path / "owl.csv", as_json=False)
    with (tmp_path / "owl.csv").open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))
    assert len(found) == 40
    assert found[0]["path"].startswith("/photos/")


def test_what_cannot_be_is_said(head: Path, pool: Path, rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match="did you mean 'ray'"):
        _mine_scale.Where(num_workers=1, engine="rai", address=None)
    with pytest.raises(UsageError, match="--address has no effect"):
        _mine_scale.Where(num_workers=1, engine="processes", address="auto")
    with pytest.raises(UsageError, match="--top 0"):
        rank(head, str(pool), num=0)
    save_head(Head("owl", LinearModel(np.ones(8, np.float32), 0.0), "other", "other"), head)
    with pytest.raises(WeightsError, match="fitted on features of 'other'"):
        rank(head, str(pool))
