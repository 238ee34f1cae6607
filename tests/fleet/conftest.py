"""Shards of random rows with many ties; a clip of shapes, and fleets that watch it."""

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from narrowcast.fleet.shards import ShardList, pool_shards
from narrowcast.mine.features import FeatureStore, VersionNote
from narrowcast.mine.pool import Pool
from narrowcast.video.synth import moving_shapes
from narrowcast.video.writer import VideoWriter

DIM = 24
MakePool = Callable[..., ShardList]


def row_of(path: str, size: int = 1) -> dict[str, object]:
    return {
        "path": path,
        "item": f"item-{path}",
        "status": "ok",
        "reason": "",
        "size_bytes": size,
        "mtime_ns": 0,
        "offset": -1,
        "width": 8,
        "height": 8,
    }


@pytest.fixture
def make_pool(tmp_path: Path) -> MakePool:
    """`make_pool(rows, cuts)` is a pool with those features, cut into shards at `cuts`; each shard also has a copy."""

    def made(rows: np.ndarray, cuts: list[int]) -> ShardList:
        pool = Pool.create(tmp_path / "pool")
        note = VersionNote(name="random", key="random", dim=rows.shape[1])
        store = FeatureStore.create(pool.path, note)
        for shard, part in enumerate(np.split(rows, cuts)):
            start = 0 if not shard else cuts[shard - 1]
            store.write_shard(shard, part)
            listed = [row_of(f"/photos/{start + ix}.jpg") for ix in range(len(part))]
            copy = row_of(f"/photos/copy-{shard}.jpg") | {"status": "duplicate"}
            pool.write_items(shard, [copy, *listed])
        pool.choose("random")
        return pool_shards(pool)

    return made


@pytest.fixture
def rows(rng: np.random.Generator) -> np.ndarray:
    """3,000 rows of which every fifth is one of 20: the best 1,000 end in a tie."""
    found = rng.standard_normal((3000, DIM)).astype(np.float32)
    found[::5] = found[:20][rng.integers(0, 20, 600)]
    return found


HEAD = """[fleet]
teacher = "hue_teacher:label"
checkpoint_every = 10
{more}
[schedule]
max_updates = 2
"""


@pytest.fixture
def clip(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """20 frames of shapes, and the teacher that knows their colours."""
    monkeypatch.syspath_prepend(repository / "benchmarks")
    paths = [str(repository / "benchmarks"), str(repository / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with VideoWriter(tmp_path / "shapes.mp4", fps=Fraction(25)) as video:
        for frame, _ in moving_shapes(num_frames=20, size_wh=(64, 48), num_classes=4, fps=Fraction(25)):
            video.write(frame.image_rgb, frame.time_s)
    return tmp_path / "shapes.mp4"


@pytest.fixture
def write(tmp_path: Path, clip: Path) -> Callable[..., Path]:
    """`write("a", "b")` is a file with these cameras."""

    def written(*names: str, more: str = "", source: Path | None = None, **settings: object) -> Path:
        text = HEAD.format(more=more)
        for name in names:
            text += f'[camera.{name}]\nsource = "{source or clip}"\n'
            text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        path = tmp_path / "cameras.toml"
        path.with_suffix(".new").write_text(text, encoding="utf-8")
        path.with_suffix(".new").replace(path)
        return path

    return written
