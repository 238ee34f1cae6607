"""The shards of a pool's features as a list that any machine can read: of a pool's folder, or published at a URL.

A URL is anything that fsspec opens: a path, `file://`, `s3://`, `gs://`, `hdfs://`, `memory://`.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float16

from narrowcast.core.config import from_dict
from narrowcast.core.errors import NarrowcastError, SourceError, StorageError, UsageError
from narrowcast.mine.features import VersionNote
from narrowcast.mine.pool import Pool

MANIFEST, FORMAT = "manifest.json", 1
SHARD_ROWS = 65_536  # of a published shard: 168 MB at 1280 values, some seconds of a network and a tenth of a core's
COLUMNS = ("path", "item")


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows of features in one .npy file.

    Attributes:
        features, items: where the rows are, and the Parquet file with what each row is a photo of.
        first_ix: the pool_ix of the first row.
        num_rows: of the features; of the items those whose `status` is "ok" (all, where there is no such column).
    """

    features: str
    items: str
    first_ix: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class ShardList:
    """All shards of one version of a pool's features, in the order of their `first_ix`."""

    where: str
    note: VersionNote
    shards: tuple[Shard, ...]

    @property
    def num_rows(self) -> int:
        return sum(shard.num_rows for shard in self.shards)


@dataclass(frozen=True, slots=True)
class PublishReport:
    """`done` of `total` rows are at the URL."""

    done: int
    total: int


def open_shards(where: str, version: str | None = None) -> ShardList:
    """The shards of the pool in the folder `where`, or of the list that was published there.

    Args:
        version: of a pool's features; None: the chosen one.

    Raises:
        UsageError: there is neither a pool nor a list; or `version` is given for a list, which has one.
        StorageError: it is damaged or cannot be read.
    """
    if "://" not in where and not (Path(where) / MANIFEST).exists():
        return pool_shards(Pool.open(Path(where)), version)
    if version is not None:
        raise UsageError(f"--features has no effect on {where}: what is published has one version")
    return published_shards(where)


def pool_shards(pool: Pool, version: str | None = None) -> ShardList:
    """The shards of a pool in a folder.

    Raises:
        UsageError: there is no such version, or it lacks shards.
    """
    store, shards, first = pool.store(version), [], 0
    for number in range(pool.num_shards):
        if not store.has_shard(number):
            raise UsageError(
                f"{store.folder}: lacks shard {number}; run mine index with --backbone {store.note.backbone} again"
            )
        path = store.shard_path(number)
        rows, dim = _shape(str(path))
        if dim != store.note.dim:
            raise StorageError(f"{path}: has {dim} values a row; expected {store.note.dim}")
        shards.append(Shard(str(path), str(pool.items_path(number)), first, rows))
        first += rows
    return ShardList(str(pool.path), store.note, tuple(shards))


def published_shards(url: str) -> ShardList:
    """The list that `publish` wrote.

    Raises:
        UsageError: there is none, or it is of a later format.
        StorageError: it is damaged or cannot be read.
    """
    where = f"{url.rstrip('/')}/{MANIFEST}"
    try:
        manifest = json.loads(_read(where))
        if manifest["format"] > FORMAT:
            raise UsageError(
                f"{where}: of format {manifest['format']}; this narrowcast reads up to {FORMAT}: update it"
            )
        note = from_dict(VersionNote, manifest["version"], where=where)
        shards, first = [], 0
        for entry in manifest["shards"]:
            features, items = (f"{url.rstrip('/')}/{entry[name]}" for name in ("features", "items"))
            shards.append(Shard(features, items, first, int(entry["num_rows"])))
            first += shards[-1].num_rows
    except FileNotFoundError:
        raise UsageError(f"{url}: holds no {MANIFEST}; make it with narrowcast mine publish") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{where}: damaged: {error}") from error
    return ShardList(url, note, tuple(shards))


def publish(listed: ShardList, url: str, *, shard_rows: int = SHARD_ROWS) -> Iterator[PublishReport]:
    """Write the shards to `url`, `shard_rows` to each, and the manifest last: a reader sees all or nothing.

    Raises:
        UsageError: something is published there already.
        StorageError: it cannot be written.
    """
    url = url.rstrip("/")
    if _exists(f"{url}/{MANIFEST}"):
        raise UsageError(f"{url}: something is published there already; choose another --to")
    entries: list[dict[str, Any]] = []
    done = 0
    for rows, items in _regrouped(listed.shards, shard_rows):
        names = {"features": f"features/{len(entries):06}.npy", "items": f"items/{len(entries):06}.parquet"}
        content, table = io.BytesIO(), io.BytesIO()
        np.save(content, rows)
        pq.write_table(items, table)
        _write(f"{url}/{names['features']}", content.getvalue())
        _write(f"{url}/{names['items']}", table.getvalue())
        entries.append(names | {"num_rows": len(rows)})
        done += len(rows)
        yield PublishReport(done, listed.num_rows)
    manifest = {"format": FORMAT, "version": asdict(listed.note), "num_rows": done, "shards": entries}
    _write(f"{url}/{MANIFEST}", json.dumps(manifest, indent=1).encode())


def read_features(shard: Shard) -> Float16[np.ndarray, "n dim"]:
    """The rows of a shard; of a local file they are mapped, not read.

    Raises:
        StorageError: they are not there, damaged, or not as many as listed.
    """
    try:
        path = Path(shard.features)
        if "://" not in shard.features and path.stat().st_size > 128:
            rows = np.load(path, mmap_mode="c", allow_pickle=False)  # "r" would make torch warn
        else:
            rows = np.load(io.BytesIO(_read(shard.features)), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{shard.features}: damaged or missing: {error}") from error
    if rows.dtype != np.float16 or rows.ndim != 2 or len(rows) != shard.num_rows:
        raise StorageError(
            f"{shard.features}: holds {rows.dtype} {rows.shape}; expected {shard.num_rows} rows of float16"
        )
    return rows


def read_items(shard: Shard, columns: Sequence[str] = COLUMNS) -> pa.Table:
    """What each row of a shard is a photo of.

    Raises:
        StorageError: the list is not there, damaged, or not as long as the features.
    """
    try:
        table = pq.read_table(io.BytesIO(_read(shard.items)))
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{shard.items}: damaged or missing: {str(error).splitlines()[0]}") from error
    if "status" in table.column_names:
        table = table.filter(pa.array([status == "ok" for status in table["status"].to_pylist()], pa.bool_()))
    if len(table) != shard.num_rows:
        raise StorageError(f"{shard.items}: lists {len(table)} photos; there are {shard.num_rows} rows of features")
    return table.select(list(columns))


def _regrouped(shards: Sequence[Shard], num: int) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """All rows in order, `num` at a time."""
    rows: list[np.ndarray] = []
    tables: list[pa.Table] = []
    for shard in shards:
        features, items = read_features(shard), read_items(shard)
        while len(features):
            room = num - sum(map(len, rows))
            rows.append(features[:room])
            tables.append(items.slice(0, room))
            features, items = features[room:], items.slice(room)
            if sum(map(len, rows)) == num:
                yield np.concatenate(rows), pa.concat_tables(tables)
                rows, tables = [], []
    if rows:
        yield np.concatenate(rows), pa.concat_tables(tables)


def _shape(path: str) -> tuple[int, int]:
    try:
        with Path(path).open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            rows, dim = read(file)[0]
        return rows, dim
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: damaged; remove it and index again ({error})") from error


def _read(where: str) -> bytes:
    try:
        with _open(where, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{where}: cannot be read: {error.strerror or error}") from error


def _exists(where: str) -> bool:
    try:
        with _open(where, "rb"):
            return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"{where}: cannot be read: {error.strerror or error}") from error


def _write(where: str, content: bytes) -> None:
    try:
        if "://" not in where:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
        with _open(where, "wb") as file:
            file.write(content)
    except NarrowcastError:
        raise
    except OSError as error:
        raise StorageError(f"{where}: cannot be written: {error.strerror or error}") from error


def _open(where: str, mode: str) -> Any:
    try:
        return fsspec.open(where, mode, auto_mkdir=True) if where.startswith("file://") else fsspec.open(where, mode)
    except (ValueError, ImportError) as error:
        raise SourceError(f"{where}: {error}") from error
