"""A pool that actors fill is the pool that one process fills."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.fleet.indexing import reading_on_ray
from narrowcast.mine.indexing import Photo, index, read_photo
from narrowcast.mine.pool import Pool
from narrowcast.models.backbones import load_backbone

SPEC = "efficientnet-lite0@32"


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """100 photos, of which some are copies and one is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for ix in range(100):
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(folder / f"{ix:03}.png")
    for ix in range(5):
        shutil.copy(folder / f"{ix:03}.png", folder / f"copy-{ix}.png")
    (folder / "none.png").write_bytes(b"nothing")
    return folder


def filled(path: Path, photos: Path, **how) -> Pool:
    pool = Pool.create(path)
    for _ in index(pool, [photos], load_backbone(SPEC), shard_size=16, **how):
        pass
    return Pool.open(path)


def same(first: Pool, second: Pool) -> bool:
    rows = [pool.table.to_pylist() for pool in (first, second)]
    return rows[0] == rows[1] and np.allclose(first.features(), second.features(), atol=2e-3)


def test_features_that_come_along_are_taken(tmp_path: Path, photos: Path) -> None:
    backbone = load_backbone(SPEC)

    def read(places):
        for place in places:
            photo = read_photo(place, backbone)
            features = None if photo.prepared is None else backbone([photo.prepared])[0]
            yield Photo(photo.row, features=features)

    pool = filled(tmp_path / "one", photos)
    assert same(pool, filled(tmp_path / "two", photos, read=read))
    assert pool.counts() == {"ok": 100, "duplicate": 5, "undecodable": 1}


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # 2026-11: Ray 2.60 of its own settings
def test_actors_of_ray_fill_the_same_pool(tmp_path: Path, photos: Path) -> None:
    with reading_on_ray(SPEC, num_workers=2) as read:
        two = filled(tmp_path / "two", photos, read=read)
    assert same(filled(tmp_path / "one", photos), two)
