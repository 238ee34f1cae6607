"""Arrays on disk with a row for each image, computed once: keyed by model and data, resumable after a kill."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from narrowcast.core.errors import StorageError
from narrowcast.core.files import write_json

PROGRESS, LOCK = "progress.json", ".lock"
POLL_S = 0.2  # between two looks at a cache that another process fills
Layout = Mapping[str, tuple[tuple[int, ...], str]]  # name -> (shape of a row, dtype)
Block = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class CacheReport:
    """`done` of `total` rows are on disk."""

    done: int
    total: int


@final
class RowCache:
    """A folder with one .npy file for each array of `layout`; rows are filled in order."""

    def __init__(self, folder: Path, layout: Layout, *, key: str, num_rows: int) -> None:
        self.folder, self.layout, self.key, self.num_rows = folder, dict(layout), key, num_rows

    @property
    def done(self) -> int:
        """Rows that are there already; 0 where the folder holds something else."""
        try:
            note = json.loads((self.folder / PROGRESS).read_text(encoding="utf-8"))
            return int(note["done"]) if (note["key"], note["rows"]) == (self.key, self.num_rows) else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def fill(self, blocks: Callable[[int], Iterable[Block]], *, keep_every: int = 1024) -> Iterator[CacheReport]:
        """Write the rows that are missing: `blocks(first_row)` gives them, some at a time, in order.

        One process fills a cache; others, those of torchrun for one, report its progress until it has ended.

        Raises:
            StorageError: the folder cannot be written.
        """
        if self.done >= self.num_rows:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        try:
            yield from self._wait(lock)
            yield from self._fill(blocks, keep_every)
        finally:
            os.close(lock)

    def _wait(self, lock: int) -> Iterator[CacheReport]:
        """Report what another process does until the lock is free, and take it."""
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield CacheReport(self.done, self.num_rows)
                time.sleep(POLL_S)

    def _fill(self, blocks: Callable[[int], Iterable[Block]], keep_every: int) -> Iterator[CacheReport]:
        done = kept = self.done
        if done >= self.num_rows:
            return
        try:
            arrays = {name: self._open(name, is_new=done == 0) for name in self.layout}
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        for block in blocks(done):
            size = len(next(iter(block.values())))
            for name, values in block.items():
                arrays[name][done : done + size] = values
            done += size
            if done - kept >= keep_every or done == self.num_rows:
                for array in arrays.values():
                    array.flush()
                write_json(self.folder / PROGRESS, {"key": self.key, "rows": self.num_rows, "done": done})
                kept = done
            yield CacheReport(done, self.num_rows)

    def read(self, name: str) -> np.ndarray:
        """The array `name`, read as it is needed.

        Raises:
            StorageError: it is not complete or damaged.
        """
        if self.done < self.num_rows:
            raise StorageError(f"{self.folder}: only {self.done} of {self.num_rows} rows are there; run it again")
        try:
            return np.load(self.folder / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(f"{self.folder / name}.npy: damaged; delete the folder and run again") from error

    def _open(self, name: str, *, is_new: bool) -> np.memmap:
        shape, dtype = self.layout[name]
        path = self.folder / f"{name}.npy"
        if not is_new and path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(self.num_rows, *shape))
