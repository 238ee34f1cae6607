"""A cache goes on where it was killed, and never takes another's rows for its own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import StorageError
from narrowcast.data.row_cache import Block, RowCache

LAYOUT = {"square": ((), "float32"), "pair": ((2,), "int64")}


def blocks(first_row: int, *, fail_at: int = 99) -> Iterator[Block]:
    for start in range(first_row, 10, 3):
        rows = np.arange(start, min(start + 3, 10))
        if start >= fail_at:
            raise KeyboardInterrupt
        yield {"square": rows.astype(np.float32) ** 2, "pair": np.stack([rows, -rows], 1)}


def test_rows_are_filled_in_order(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "c", LAYOUT, key="k", num_rows=10)
    assert [report.done for report in cache.fill(blocks)] == [3, 6, 9, 10]
    assert cache.read("square").tolist() == [float(ix**2) for ix in range(10)]
    assert cache.read("pair")[4].tolist() == [4, -4]
    assert list(cache.fill(blocks)) == []


def test_a_killed_cache_goes_on(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "c", LAYOUT, key="k", num_rows=10)
    with pytest.raises(KeyboardInterrupt):
        list(cache.fill(lambda first: blocks(first, fail_at=6), keep_every=3))
    with pytest.raises(StorageError, match="only 6 of 10 rows"):
        cache.read("square")
    again = RowCache(tmp_path / "c", LAYOUT, key="k", num_rows=10)
    assert [report.done for report in again.fill(blocks)] == [9, 10]
    assert again.read("square").tolist() == [float(ix**2) for ix in range(10)]


def test_another_key_begins_anew(tmp_path: Path) -> None:
    list(RowCache(tmp_path / "c", LAYOUT, key="k", num_rows=10).fill(blocks))
    other = RowCache(tmp_path / "c", LAYOUT, key="other", num_rows=10)
    assert other.done == 0
    assert [report.done for report in other.fill(blocks)] == [3, 6, 9, 10]


def test_a_damaged_array_is_named(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "c", LAYOUT, key="k", num_rows=10)
    list(cache.fill(blocks))
    (tmp_path / "c" / "square.npy").write_bytes(b"")
    with pytest.raises(StorageError, match=r"square.npy: damaged"):
        cache.read("square")


def test_another_process_that_fills_it_is_waited_for(tmp_path: Path) -> None:
    """Two processes of torchrun once wrote one cache at the same time."""
    ours, theirs = (RowCache(tmp_path / "c", LAYOUT, key="k", num_rows=10) for _ in range(2))
    first = ours.fill(blocks, keep_every=3)
    assert next(first).done == 3
    waiting = theirs.fill(lambda _: pytest.fail("both fill it"))
    assert [next(waiting).done, next(waiting).done] == [3, 3]
    list(first)
    assert list(waiting) == []
    assert theirs.read("square").tolist() == [float(ix**2) for ix in range(10)]
