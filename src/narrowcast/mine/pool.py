"""A pool of photos: a folder with items as Parquet and versions of features, append-only, safe against kill -9.

`items/00000.parquet` and on list what was found, in the order in which it was indexed. A shard's items are written
behind its features, so what they list has features; a process that dies leaves at most one shard to do again.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float16, Int64

from narrowcast.core.errors import SourceError, StorageError, UsageError, did_you_mean
from narrowcast.core.files import replacing, write_json
from narrowcast.mine.catalogue import Catalogue
from narrowcast.mine.features import FeatureStore, version_names
from narrowcast.mine.sources import Place
from narrowcast.mine.stored import Pause, StoredRows, go_on

POOL, ITEMS, LOCK = "pool.json", "items", ".lock"
FORMAT = 1
Status = Literal["ok", "duplicate", "undecodable"]
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("item", pa.string()),  # the content's identity; "" where it could not be read
        ("status", pa.string()),
        ("reason", pa.string()),  # why it cannot be decoded, or of which path it is a copy
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("offset", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


@final
class Pool:
    """An open pool. Usable photos are numbered from 0 in the order in which they were indexed: their `pool_ix`."""

    def __init__(self, path: Path, note: dict[str, Any]) -> None:
        self.path, self.note = path, note
        self._table: pa.Table | None = None
        self._usable: pa.Table | None = None
        self._catalogue: Catalogue | None = None

    @classmethod
    def create(cls, path: Path) -> "Pool":
        """A new pool in `path`, or the one that is there.

        Raises:
            UsageError: the folder is not empty and no pool.
            StorageError: it cannot be written.
        """
        if (path / POOL).exists():
            return cls.open(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(not entry.name.startswith(".") for entry in path.iterdir()):
                raise UsageError(f"{path}: is not empty and holds no pool; choose another --pool")
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
        write_json(path / POOL, {"format": FORMAT})
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "Pool":
        """The pool in `path`.

        Raises:
            UsageError: there is none, or it is of a later format.
            StorageError: it cannot be read.
        """
        try:
            note = json.loads((path / POOL).read_text(encoding="utf-8"))
            number = int(note["format"])
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{path}: is no pool; make one with narrowcast mine index PHOTOS --pool {path}") from None
        except OSError as error:
            raise StorageError(f"{path / POOL}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{path / POOL}: damaged: {error}") from error
        if number > FORMAT:
            raise UsageError(f"{path}: a pool of format {number}; this narrowcast reads up to {FORMAT}: update it")
        return cls(path, note)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the pool for indexing, or for learning features of what is in it.

        Raises:
            UsageError: another process holds it.
        """
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UsageError(
                f"{self.path}: another process is indexing this pool or learning its features; wait or end it"
            ) from None
        finally:
            os.close(descriptor)

    # --- items --------------------------------------------------------------------------------------------------------

    @property
    def num_shards(self) -> int:
        number = 0
        while self.items_path(number).exists():
            number += 1
        return number

    def items_path(self, shard: int) -> Path:
        return self.path / ITEMS / f"{shard:05}.parquet"

    def read_items(self, shard: int) -> pa.Table:
        """The rows of one shard.

        Raises:
            StorageError: it is damaged.
        """
        path = self.items_path(shard)
        try:
            return pq.read_table(path, schema=SCHEMA)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: damaged: {str(error).splitlines()[0]}") from error

    def write_items(self, shard: int, rows: list[dict[str, Any]]) -> None:
        """Append a shard; its features must be on disk already."""
        assert shard == self.num_shards
        with replacing(self.items_path(shard)) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
        self._table = self._usable = self._catalogue = None

    @property
    def table(self) -> pa.Table:
        """All rows, those that cannot be used included."""
        if self._table is None:
            shards = [self.read_items(shard) for shard in range(self.num_shards)]
            self._table = pa.concat_tables(shards).combine_chunks() if shards else SCHEMA.empty_table()
        return self._table

    @property
    def usable(self) -> pa.Table:
        """The rows of photos with features, in the order of `pool_ix`."""
        if self._usable is None:
            is_ok = self.table["status"].to_numpy() == "ok"
            self._usable = self.table if is_ok.all() else self.table.filter(pa.array(is_ok))
        return self._usable

    @property
    def catalogue(self) -> Catalogue:
        """The photos with features by number and by identity."""
        if self._catalogue is None:
            self._catalogue = Catalogue(self.usable)
        return self._catalogue

    def __len__(self) -> int:
        return len(self.usable)

    def counts(self) -> dict[str, int]:
        """Rows by status."""
        found = Counter(self.table["status"].to_pylist())
        return {name: found[name] for name in ("ok", "duplicate", "undecodable")}

    def paths(self) -> list[str]:
        """The path of each pool_ix."""
        return self.usable["path"].to_pylist()

    def items(self) -> list[str]:
        """The content identity of each pool_ix."""
        return self.usable["item"].to_pylist()

    def place(self, pool_ix: int) -> Place:
        """Where the bytes of one photo are."""
        return self.catalogue.place(pool_ix)

    # --- features -----------------------------------------------------------------------------------------------------

    def versions(self) -> list[str]:
        """The names of the versions of features, the chosen one first."""
        names = version_names(self.path)
        first = self.note.get("features")
        return sorted(names, key=lambda name: (name != first, name))

    def choose(self, version: str) -> None:
        """Make `version` the one that is used where none is named."""
        FeatureStore.open(self.path, version)
        self.note = {**self.note, "features": version}
        write_json(self.path / POOL, self.note)

    @property
    def stacks(self) -> bool:
        """Whether a label may be for several near copies at once."""
        return bool(self.note.get("stacks", True))

    def keep_apart(self) -> None:
        """Let every photo be judged by itself, however alike others are, from now on."""
        self.note = {**self.note, "stacks": False}
        write_json(self.path / POOL, self.note)

    def store(self, version: str | None = None) -> FeatureStore:
        """A version of the features; None is the chosen one.

        Raises:
            UsageError: there is no such version (with a suggestion), or none at all.
        """
        names = self.versions()
        if not names:
            raise UsageError(
                f"{self.path}: nothing is indexed yet; run narrowcast mine index PHOTOS --pool {self.path}"
            )
        if version is not None and version not in names:
            raise UsageError(f"{self.path}: has no features called '{version}'{did_you_mean(version, names)}: {names}")
        return FeatureStore.open(self.path, version or names[0])

    def features(self, version: str | None = None) -> Float16[np.ndarray, "rows dim"]:
        """The features of every pool_ix in one array, normalised.

        Raises:
            UsageError, StorageError: they are incomplete or damaged.
        """
        rows = self.store(version).read(self.num_shards)
        self._check_fit(len(rows))
        return rows

    def stored_features(self, version: str | None = None, *, pause: Pause = go_on) -> StoredRows:
        """The same features, left on disk.

        Args:
            pause: called between two shards of a pass; what it raises ends the pass.

        Raises:
            UsageError, StorageError: they are incomplete or damaged.
        """
        rows = self.store(version).stored(self.num_shards, pause=pause)
        self._check_fit(len(rows))
        return rows

    def _check_fit(self, num: int) -> None:
        if num != len(self):
            raise StorageError(f"{self.path}: {num} rows of features for {len(self)} photos; index it again")

    # --- names --------------------------------------------------------------------------------------------------------

    def find(self, names: list[str], *, start: Path | None = None) -> Int64[np.ndarray, " n"]:
        """The pool_ix of each name.

        A name is an absolute path, one relative to `start` or to the current folder, the end of a path that only one
        photo has, a content identity, or `#17` for the photo with that pool_ix.

        Raises:
            SourceError: a name fits no photo, or several.
        """
        index = NameIndex(self)
        return np.array([index.find(name, start=start) for name in names], np.int64)


class NameIndex:
    """Photos by what people call them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool.path
        self._num = len(pool)
        items = pool.items()
        ix_of_item = {item: ix for ix, item in enumerate(items)}
        # a copy stands for its original
        self._by_path = {
            row["path"]: ix_of_item[row["item"]]
            for row in pool.table.select(["path", "item"]).to_pylist()
            if row["item"] in ix_of_item
        }
        self._by_item = ix_of_item
        self._by_end: dict[str, list[str]] = {}
        for path in self._by_path:
            self._by_end.setdefault(path.rpartition("/")[2], []).append(path)

    def get(self, name: str, *, start: Path | None = None) -> int | None:
        """The pool_ix, or None where nothing, or more than one photo, fits."""
        try:
            return self.find(name, start=start)
        except SourceError:
            return None

    def find(self, name: str, *, start: Path | None = None) -> int:
        """The pool_ix of one name.

        Raises:
            SourceError: nothing or several photos fit.
        """
        if name.startswith("#") and name[1:].isdecimal() and int(name[1:]) < self._num:
            return int(name[1:])
        if name in self._by_item:
            return self._by_item[name]
        for folder in (start, Path.cwd()):
            path = os.path.normpath((folder or Path.cwd()).absolute() / name)
            if path in self._by_path:
                return self._by_path[path]
        same_name = self._by_end.get(name.rpartition("/")[2], [])
        fitting = [path for path in same_name if path.endswith("/" + name) or path.endswith("::" + name)]
        if len(fitting) == 1:
            return self._by_path[fitting[0]]
        problem = f"fits {len(fitting)} photos, such as {fitting[0]} and {fitting[1]}" if fitting else "is not in it"
        raise SourceError(f"{self._pool}: '{name}' {problem}")
