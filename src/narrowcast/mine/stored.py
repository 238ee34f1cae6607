"""Features that stay on disk: ranked a shard at a time, so that a pool of any size takes the memory of a few shards.

What was read stays in the operating system's cache as long as there is room, so a pass over a million photos is bound
by memory as before; but those pages are the system's to take back, and a machine with less memory goes on, slower.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Float16

from narrowcast.core.errors import StorageError

BLOCK = 256  # rows: what is worked on is still in the processor's own cache; ours
Pause = Callable[[], None]


def go_on() -> None:
    """The pause of a pass that nobody interrupts."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows behind a header: fp16, one row behind the other."""

    path: Path
    offset: int
    num: int


@final
class StoredRows:
    """Rows on disk that are read as a NumPy array would be: `rows[ix]`, `len(rows)`, `rows.shape`.

    Args:
        files: in the order of the rows.
        pause: called between two shards of a pass, in the thread that asked for it; what it raises ends the pass.
    """

    def __init__(self, files: Sequence[RowFile], dim: int, *, pause: Pause = go_on) -> None:
        self._files, self._dim, self._pause = files, dim, pause
        self._starts = np.cumsum([0, *(file.num for file in files)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, dim), as an array's."""
        return len(self), self._dim

    def __getitem__(self, ix: Any) -> Float16[np.ndarray, "..."]:
        """Rows by number, slice, list of numbers or mask, in the order asked for."""
        asked = np.arange(len(self))[ix]
        places = np.atleast_1d(asked)
        rows = np.empty((len(places), self._dim), np.float16)
        order = np.argsort(places, kind="stable")
        shards = np.searchsorted(self._starts, places[order], side="right") - 1
        for shard in np.unique(shards).tolist():
            here = order[shards == shard]
            with self._reading(shard) as descriptor:
                for place in here.tolist():
                    within = int(places[place]) - int(self._starts[shard])
                    self._fill(descriptor, shard, within, rows[place : place + 1])
        return rows if np.ndim(asked) else rows[0]

    def blocks(self) -> Iterator[tuple[int, Float16[np.ndarray, "n dim"]]]:
        """All rows in order: the number of the first one, and rows that are overwritten when the next ones come."""
        room = np.empty((BLOCK, self._dim), np.float16)
        for shard, file in enumerate(self._files):
            self._pause()
            with self._reading(shard) as descriptor:
                for first in range(0, file.num, BLOCK):
                    rows = room[: min(BLOCK, file.num - first)]
                    self._fill(descriptor, shard, first, rows)
                    yield int(self._starts[shard]) + first, rows

    def _fill(self, descriptor: int, shard: int, first: int, rows: Float16[np.ndarray, "n dim"]) -> None:
        start = self._files[shard].offset + 2 * self._dim * first
        if rows.nbytes and os.preadv(descriptor, [rows.view(np.uint8).data], start) != rows.nbytes:
            raise StorageError(f"{self._files[shard].path}: damaged: cut off; remove it and index again")

    @contextmanager
    def _reading(self, shard: int) -> Iterator[int]:
        path = self._files[shard].path
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; index again") from error
        try:
            yield descriptor
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; index again") from error
        finally:
            os.close(descriptor)


Rows = Float[np.ndarray, "pool dim"] | StoredRows


def blocks_of(rows: Rows) -> Iterator[tuple[int, Float[np.ndarray, "n dim"]]]:
    """All rows in order, with the number of the first one: those of an array at once."""
    if isinstance(rows, StoredRows):
        yield from rows.blocks()
    else:
        yield 0, rows
