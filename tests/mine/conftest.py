"""Photos that are drawn, a backbone that sees their colours, and a pool of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.mine.indexing import index
from narrowcast.mine.pool import Pool
from narrowcast.models.callable_backbone import CallableBackbone


def colours(images: np.ndarray) -> np.ndarray:
    """Mean colour of each quarter: 12 features."""
    rows = images.reshape(len(images), 2, 4, 2, 4, 3).mean((2, 4))
    return rows.reshape(len(images), 12)


colours.size_hw = (8, 8)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def backbone() -> CallableBackbone:
    return CallableBackbone(colours, name="colours")


def draw(path: Path, rng: np.random.Generator, *, is_red: bool = False, suffix: str = ".png") -> Path:
    """A photo of noise; a red one has little green."""
    pixels = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    if is_red:
        pixels[..., 1] //= 6
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path.with_suffix(suffix))
    return path.with_suffix(suffix)


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """40 photos in two folders; the first eight of the first are red."""
    for ix in range(40):
        draw(tmp_path / "photos" / f"{ix % 2}" / f"{ix:03}", rng, is_red=ix % 2 == 0 and ix < 16)
    return tmp_path / "photos"


Fill = Callable[..., Pool]


@pytest.fixture
def fill(tmp_path: Path, backbone: CallableBackbone) -> Fill:
    """`fill(folder)` is a pool with the photos of a folder."""

    def filled(*sources: Path, shard_size: int = 16) -> Pool:
        pool = Pool.create(tmp_path / "pool")
        for _ in index(pool, list(sources), backbone, num_workers=2, shard_size=shard_size):
            pass
        return pool

    return filled


@pytest.fixture
def pool(fill: Fill, photos: Path) -> Pool:
    return fill(photos)
