"""What is indexed once stays indexed: incremental, resumable, one indexer at a time."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import SourceError, StorageError, UsageError
from narrowcast.mine import indexing
from narrowcast.mine.features import VersionNote
from narrowcast.mine.indexing import index, write_version
from narrowcast.mine.pool import Pool
from narrowcast.models.callable_backbone import CallableBackbone

from .conftest import Fill, draw


def test_a_pool_has_the_normalised_features_of_its_photos(pool: Pool, backbone: CallableBackbone) -> None:
    features = pool.features()
    assert features.shape == (40, 12)
    assert features.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(features.astype(np.float32), axis=1), 1, atol=2e-3)
    photo = pool.place(7).read()
    expected = backbone([indexing.decode(photo).image_rgb])[0]
    np.testing.assert_allclose(features[7], expected / np.linalg.norm(expected), atol=2e-3)
    assert pool.counts() == {"ok": 40, "duplicate": 0, "undecodable": 0}
    assert pool.num_shards == 1  # of 64 at once


def test_only_what_is_new_is_read(fill: Fill, photos: Path, rng: np.random.Generator, monkeypatch) -> None:
    fill(photos)
    shutil.copy(photos / "0" / "000.png", photos / "0" / "copy.png")
    draw(photos / "1" / "new", rng)
    (photos / "1" / "broken.jpg").write_bytes(b"no photo")
    read = []
    monkeypatch.setattr(indexing, "decode", lambda *a, **k: read.append(1) or ORIGINAL(*a, **k))
    pool = fill(photos)
    assert pool.counts() == {"ok": 41, "duplicate": 1, "undecodable": 1}
    assert len(read) == 3
    reasons = {Path(row["path"]).name: row["reason"] for row in pool.table.to_pylist() if row["status"] != "ok"}
    assert reasons == {"copy.png": "the same bytes as another photo", "broken.jpg": "not an image of a known format"}
    fill(photos)
    assert len(read) == 3
    assert len(Pool.open(pool.path)) == 41


ORIGINAL = indexing.decode


def test_a_listed_photo_that_is_missing_is_recorded_and_found_later(fill: Fill, photos: Path, rng) -> None:
    (photos / "list.txt").write_text("0/000.png\nlater.png\n")
    assert fill(photos / "list.txt").counts()["undecodable"] == 1
    draw(photos / "later", rng)
    assert fill(photos / "list.txt").counts()["ok"] == 2


def test_other_features_stand_beside_the_first(pool: Pool) -> None:
    other = CallableBackbone(lambda images: images.mean((1, 2)), name="mean")
    before = pool.features()
    reports = list(index(pool, [], other, num_workers=1))
    assert (reports[-1].done, reports[-1].total) == (40, 40)
    assert pool.versions()[0].startswith("colours")
    np.testing.assert_array_equal(pool.features(), before)
    assert pool.features(pool.versions()[1]).shape == (40, 3)
    pool.choose(pool.versions()[1])
    assert Pool.open(pool.path).features().shape == (40, 3)


def test_features_that_lag_behind_are_named(pool: Pool, photos: Path, rng, backbone: CallableBackbone) -> None:
    other = CallableBackbone(lambda images: images.mean((1, 2)), name="mean")
    draw(photos / "new", rng)
    list(index(pool, [photos], other, num_workers=1))
    with pytest.raises(UsageError, match="lacks the features of 1 of 2 shards; run mine index with --backbone colours"):
        pool.features()
    list(index(pool, [], backbone, num_workers=1))
    assert len(pool.features()) == 41


def test_features_from_elsewhere_can_be_kept(pool: Pool) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    note = VersionNote(name="trained-1", key="trained-1", dim=5, parent=pool.versions()[0])
    write_version(pool, note, rows)
    kept = pool.features("trained-1")
    np.testing.assert_allclose(kept, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=2e-3)
    with pytest.raises(UsageError, match="already"):
        write_version(pool, note, rows)


def test_closing_keeps_what_was_embedded(tmp_path: Path, photos: Path, backbone: CallableBackbone, monkeypatch) -> None:
    monkeypatch.setattr(indexing, "BATCH_SIZE", 8)
    pool = Pool.create(tmp_path / "pool")
    reports = index(pool, [photos], backbone, num_workers=1)
    next(reports)
    reports.close()
    assert len(Pool.open(pool.path)) == 8
    assert list(index(pool, [photos], backbone, num_workers=1))[-1].num_known == 8
    assert len(pool.features()) == 40


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from narrowcast.mine import indexing
from narrowcast.mine.pool import Pool
from narrowcast.models.callable_backbone import CallableBackbone
def slow(images):
    time.sleep(0.01 * len(images))
    return images.mean((1, 2))
slow.size_hw, slow.key = (8, 8), "slow"
indexing.BATCH_SIZE = 4
pool, photos = Pool.create(Path(sys.argv[1])), [Path(sys.argv[2])]
for report in indexing.index(pool, photos, CallableBackbone(slow, name="slow"), num_workers=1, shard_size=8):
    print(report.done, flush=True)
"""


def test_kill_9_costs_at_most_one_shard(tmp_path: Path, photos: Path) -> None:
    script = tmp_path / "fill.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(tmp_path / "pool"), str(photos), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    done = 0
    while done < 28:
        done = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    pool = Pool.open(tmp_path / "pool")
    assert done - 8 <= len(pool) <= done + 8
    pool.features()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(again.stdout.split()[-1]) == 40 - len(pool)
    whole = Pool.open(tmp_path / "pool")
    assert len(set(whole.paths())) == len(whole.features()) == 40


def test_two_indexers_are_one_too_many(tmp_path: Path, photos: Path, backbone: CallableBackbone) -> None:
    pool = Pool.create(tmp_path / "pool")
    with pool.locked(), pytest.raises(UsageError, match="another process is indexing"):
        list(index(Pool.open(pool.path), [photos], backbone, num_workers=1))


def test_a_pool_of_nothing_is_an_error(tmp_path: Path, backbone: CallableBackbone) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match="not one photo could be decoded"):
        list(index(Pool.create(tmp_path / "pool"), [tmp_path / "a.jpg"], backbone))


def test_pools_that_are_none(tmp_path: Path, photos: Path, pool: Pool) -> None:
    with pytest.raises(UsageError, match="is not empty and holds no pool"):
        Pool.create(photos)
    with pytest.raises(UsageError, match="is no pool; make one with"):
        Pool.open(photos)
    (pool.path / "pool.json").write_text('{"format": 9}')
    with pytest.raises(UsageError, match="a pool of format 9"):
        Pool.open(pool.path)
    (pool.path / "pool.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        Pool.open(pool.path)


def test_damage_is_named(pool: Pool) -> None:
    path = pool.store().shard_path(0)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StorageError, match=r"00000.npy: damaged"):
        pool.features()
    pool.items_path(0).write_bytes(b"x" * 100)
    with pytest.raises(StorageError, match=r"00000.parquet: damaged"):
        len(Pool.open(pool.path))


def test_photos_are_found_by_what_people_call_them(pool: Pool, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    ix = pool.paths().index(str(photos / "1" / "003.png"))
    names = [str(photos / "1" / "003.png"), "1/003.png", "003.png", f"#{ix}", pool.items()[ix]]
    assert set(pool.find(names)) == {ix}
    assert pool.find(["003.png"], start=photos / "1") == [ix]
    with pytest.raises(SourceError, match=r"'004\.jpg' is not in it"):
        pool.find(["004.jpg"])


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/bin/mount").exists(), reason="needs a small file system")
def test_a_full_disk_is_one_line_and_keeps_the_shards(tmp_path: Path, photos: Path, backbone: CallableBackbone) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        pool = Pool.create(small / "pool")
        wide = CallableBackbone(lambda images: np.tile(images.mean((1, 2)), (1, 200)), name="wide")
        with pytest.raises(StorageError, match="No space left on device"):
            list(index(pool, [photos], wide, num_workers=1, shard_size=8))
        assert len(Pool.open(small / "pool").features()) % 8 == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)
