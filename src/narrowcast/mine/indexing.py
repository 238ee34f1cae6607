"""Fill a pool: decode and embed what is new, a shard at a time."""

import tarfile
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.mine.decode import content_id, decode
from narrowcast.mine.features import FeatureStore, VersionNote, version_name
from narrowcast.mine.pool import Pool
from narrowcast.mine.sources import Place, find_places
from narrowcast.models.backbones import Backbone

SHARD_SIZE = 1024  # photos; what a kill -9 can cost, and 2.6 MB of features at 1280 values
BATCH_SIZE = 64
AHEAD = 4 * BATCH_SIZE  # photos decoded before they are needed: 38 MB at 224×224


@dataclass(frozen=True, slots=True)
class IndexReport:
    """Where indexing stands: of `total` places that were not known yet, `done` are dealt with."""

    done: int
    total: int
    num_ok: int = 0
    num_duplicate: int = 0
    num_undecodable: int = 0
    num_known: int = 0
    per_s: float = 0.0


@dataclass(slots=True)
class Photo:
    """A photo that was read: its row, and where it could be decoded pixels as the backbone takes them, or features."""

    row: dict[str, Any]
    prepared: UInt8[np.ndarray, "h w 3"] | None = field(default=None, repr=False)
    features: Float32[np.ndarray, " dim"] | None = field(default=None, repr=False)

    @property
    def is_decoded(self) -> bool:
        return self.prepared is not None or self.features is not None


Read = Callable[[Iterable[Place]], Iterator[Photo]]  # photos in the order of their places


def index(
    pool: Pool,
    sources: Sequence[Path],
    backbone: Backbone,
    *,
    num_workers: int = 0,
    shard_size: int = SHARD_SIZE,
    read: Read | None = None,
) -> Generator[IndexReport, None, None]:
    """Bring `pool` up to date with `sources` and `backbone`; yields a report a batch.

    First the photos that the pool has and this backbone has not seen, then the new ones. A photo whose path, size and
    time are known is not read again; bytes that are known under another path are a duplicate; what cannot be decoded is
    kept with its reason. A generator that is closed before its end keeps what it has embedded.

    Args:
        sources: as `find_places` takes them; none: only what the pool has.
        num_workers: threads that read and decode; 0 is as many as torch has, at least 2.
        read: reads photos, and may already have their features; None: threads of this process.

    Raises:
        SourceError: a source cannot be read, or there is nothing to index at all.
        UsageError: another process is indexing the pool.
        StorageError: the pool cannot be written; the shards before stay.
    """
    with pool.locked(), ThreadPoolExecutor(num_workers or max(2, torch.get_num_threads())) as workers:
        store = open_version(pool, backbone)
        photos = read or (lambda places: _read_all(places, backbone, workers))
        behind = {ix: _usable_rows(pool, ix) for ix in range(pool.num_shards) if not store.has_shard(ix)}
        found = list(find_places(list(sources)))
        known = {row["path"]: (row["size_bytes"], row["mtime_ns"]) for row in pool.table.to_pylist()}
        new = [place for place in found if known.get(place.path) != (place.size_bytes, place.mtime_ns)]
        tally = _Tally(total=len(new) + sum(map(len, behind.values())), num_known=len(found) - len(new))
        for num in _catch_up(store, behind, backbone, photos):
            yield tally.report(num)
        shard = _Shard(pool, store, backbone, dict.fromkeys(pool.items(), True))
        try:
            for batch in _batches(photos(new), BATCH_SIZE):
                tally.count(shard.add(batch))
                if len(shard) >= shard_size:
                    shard.write()
                yield tally.report(len(batch))
        except GeneratorExit:  # whoever listens has had enough: what was embedded is kept
            shard.write()
            raise
        shard.write()
        if not len(pool):
            raise SourceError(
                f"{pool.path}: not one photo could be decoded; narrowcast mine show --pool {pool.path} says why"
            )
        yield tally.report(0)


@dataclass(slots=True)
class _Tally:
    """What was dealt with so far."""

    total: int
    num_known: int
    started_s: float = field(default_factory=time.perf_counter)
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, statuses: dict[str, int]) -> None:
        self.counts.update(statuses)

    def report(self, num: int) -> IndexReport:
        """Where indexing stands after `num` more."""
        self.done += num
        rate = self.done / max(time.perf_counter() - self.started_s, 1e-9)
        ok, duplicate, undecodable = (self.counts[status] for status in ("ok", "duplicate", "undecodable"))
        return IndexReport(self.done, self.total, ok, duplicate, undecodable, self.num_known, rate)


def _catch_up(store: FeatureStore, behind: dict[int, list[Place]], backbone: Backbone, photos: Read) -> Iterator[int]:
    """Embed the shards that this version lacks; how many photos, a batch at a time."""
    for shard, places in behind.items():
        rows: list[np.ndarray] = []
        for batch in _batches(photos(places), BATCH_SIZE):
            rows.append(_embed_all(batch, backbone))
            yield len(batch)
        store.write_shard(shard, np.concatenate(rows) if rows else np.zeros((0, backbone.dim), np.float32))


def open_version(pool: Pool, backbone: Backbone) -> FeatureStore:
    """The pool's features of `backbone`; a new version where it has none. The first version is the chosen one."""
    name = version_name(backbone.key)
    if name in pool.versions():
        store = FeatureStore.open(pool.path, name)
        if store.note.key != backbone.key:
            raise UsageError(
                f"{store.folder}: holds features of '{store.note.key}', not of '{backbone.key}'; rename it"
            )
        return store
    note = VersionNote(
        name=name,
        key=backbone.key,
        dim=backbone.dim,
        backbone=backbone.name,
        preprocessing=getattr(backbone, "preprocessing", None),
    )
    store = FeatureStore.create(pool.path, note)
    if len(pool.versions()) == 1:
        pool.choose(name)
    return store


def write_version(pool: Pool, note: VersionNote, features: Float[np.ndarray, "rows dim"]) -> FeatureStore:
    """Keep features that were computed elsewhere, a row a pool_ix, as a version of their own.

    Raises:
        UsageError: the version is there already.
    """
    if note.name in pool.versions():
        raise UsageError(f"{pool.path}: has features called '{note.name}' already")
    assert len(features) == len(pool)
    store, start = FeatureStore.create(pool.path, note), 0
    for shard in range(pool.num_shards):
        num = len(_usable_rows(pool, shard))
        store.write_shard(shard, features[start : start + num])
        start += num
    return store


class _Shard:
    """Rows and features that are not on disk yet."""

    def __init__(self, pool: Pool, store: FeatureStore, backbone: Backbone, items: dict[str, bool]) -> None:
        self._pool, self._store, self._backbone, self._items = pool, store, backbone, items
        self._rows: list[dict[str, Any]] = []
        self._features: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, batch: list[Photo]) -> dict[str, int]:
        """Take a batch in; how many of each status it had."""
        counts = {"ok": 0, "duplicate": 0, "undecodable": 0}
        fresh: list[Photo] = []
        for read in batch:
            row = read.row
            if row["item"] and row["item"] in self._items:
                row |= {"status": "duplicate", "reason": "the same bytes as another photo"}
            elif read.is_decoded:
                self._items[row["item"]] = True
                fresh.append(read)
            counts[row["status"]] += 1
            self._rows.append(row)
        if fresh:
            self._features.append(_embed_all(fresh, self._backbone))
        return counts

    def write(self) -> None:
        """Bring the rows to disk, the features first; nothing where there are none."""
        if not self._rows:
            return
        number = self._pool.num_shards
        features = self._features or [np.zeros((0, self._backbone.dim), np.float32)]
        self._store.write_shard(number, np.concatenate(features))
        self._pool.write_items(number, self._rows)
        self._rows, self._features = [], []


def _read_all(places: Iterable[Place], backbone: Backbone, workers: ThreadPoolExecutor) -> Iterator[Photo]:
    """Photos in order, decoded ahead by `workers`."""
    waiting: deque[Future[Photo]] = deque()
    try:
        for place in places:
            waiting.append(workers.submit(read_photo, place, backbone))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def read_photo(place: Place, backbone: Backbone) -> Photo:
    """Read and decode one photo; what cannot be decoded has its reason in the row."""
    row: dict[str, Any] = {
        "path": place.path,
        "item": "",
        "status": "undecodable",
        "reason": "",
        "size_bytes": place.size_bytes,
        "mtime_ns": place.mtime_ns,
        "offset": place.offset,
        "width": 0,
        "height": 0,
    }
    try:
        content = place.read()
        row["item"] = content_id(content) if content else ""
        photo = decode(content, least_hw=backbone.size_hw)
    except (SourceError, OSError, tarfile.TarError, KeyError) as error:
        return Photo(row | {"reason": getattr(error, "strerror", None) or str(error)})
    row |= {"status": "ok", "width": photo.size_wh[0], "height": photo.size_wh[1]}
    return Photo(row, backbone.prepare(photo.image_rgb))


def _embed_all(batch: list[Photo], backbone: Backbone) -> Float[np.ndarray, "n dim"]:
    """Features of every photo of the batch; of one that cannot be decoded any more, zeros."""
    features = np.zeros((len(batch), backbone.dim), np.float32)
    for ix, read in enumerate(batch):
        if read.features is not None:
            features[ix] = read.features
    there = [ix for ix, read in enumerate(batch) if read.prepared is not None]
    if there:
        features[there] = backbone([read.prepared for read in batch if read.prepared is not None])
    return features


def _usable_rows(pool: Pool, shard: int) -> list[Place]:
    rows = pool.read_items(shard).select(["path", "status", "size_bytes", "mtime_ns", "offset"]).to_pylist()
    return [Place(r["path"], r["size_bytes"], r["mtime_ns"], r["offset"]) for r in rows if r["status"] == "ok"]


def _batches(values: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    batch: list[Photo] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
