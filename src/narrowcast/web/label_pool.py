"""The pool below a labelling page: its photos, log, features and backbone, each read once, when needed."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, final

import torch
from threadpoolctl import ThreadpoolController

from narrowcast.core.errors import NarrowcastError, StorageError
from narrowcast.mine.catalogue import Catalogue
from narrowcast.mine.examples import EXAMPLES
from narrowcast.mine.labels import LabelLog
from narrowcast.mine.miner import PoolFacts
from narrowcast.mine.pool import POOL, Pool
from narrowcast.mine.stored import StoredRows
from narrowcast.models.backbones import Backbone, load_backbone
from narrowcast.web.photos import IDENTITY, Photos
from narrowcast.web.worker import Worker


@final
class LabelPool:
    """An open pool with its log, its photos for browsers, and a worker for what takes long."""

    def __init__(self, pool: Pool, log: LabelLog, *, backbone: Backbone | None = None) -> None:
        self.pool, self.log, self.photos = pool, log, Photos(self.catalogue, pool.path)
        self.worker = Worker("narrowcast-label", around_ahead=ON_ONE_CORE)
        self.version = pool.store().note.name
        self._backbone = backbone
        self._features: StoredRows | None = None
        self._facts: PoolFacts | None = None
        self._catalogue_lock = threading.Lock()
        self.problem = ""  # with features that were promoted meanwhile
        self._note_ns = self._newest_note_ns()

    def close(self) -> None:
        """End the work; everything that was said is on disk already."""
        self.worker.close()
        self.log.close()

    def catalogue(self) -> Catalogue:
        """The photos by number and identity."""
        with self._catalogue_lock:
            return self.pool.catalogue

    def features(self) -> tuple[StoredRows, PoolFacts]:
        """Features of the pool and what is known of them; in the worker only."""
        if self._features is None or self._facts is None:
            self._features = self.pool.stored_features(self.version, pause=self.worker.pause)
            self._facts = PoolFacts(self._features)
        return self._features, self._facts

    def load(self) -> None:
        """Read what everybody needs before anybody asks; in the worker only."""
        self.catalogue()
        self.features()

    def backbone(self) -> Backbone:
        """What makes features of examples and words; in the worker only."""
        if self._backbone is None:
            self._backbone = load_backbone(self.pool.store(self.version).note.backbone)
        return self._backbone

    def has_text(self) -> bool:
        """Whether the backbone knows words; in the worker only."""
        try:
            return getattr(self.backbone(), "text", None) is not None
        except NarrowcastError:
            return False

    def knows(self, item: str) -> bool:
        """Whether there is such a photo, in the pool or among the examples."""
        if not IDENTITY.fullmatch(item):
            return False
        return self.catalogue().ix_of(item) is not None or (self.pool.path / EXAMPLES / item).is_file()

    # --- features that are learned meanwhile --------------------------------------------------------------------------

    def is_behind(self) -> bool:
        """Whether something was written beside this process that `follow` has not looked at."""
        return self._newest_note_ns() != self._note_ns

    def follow(self) -> bool:
        """Go on with what `narrowcast mine update` has promoted; whether there is something new. In the worker only.

        Where that cannot be read, the features of before stay in use, and `problem` says why.
        """
        if not self.is_behind():
            return False
        self._note_ns, self.problem = self._newest_note_ns(), ""
        try:
            return self._take(Pool.open(self.pool.path))
        except NarrowcastError as error:
            self.problem = str(error)
            return False

    def _take(self, pool: Pool) -> bool:
        note = pool.store().note
        if note.name == self.version:
            return False
        catalogue = pool.catalogue  # photos that were added meanwhile come along
        features = pool.stored_features(note.name, pause=self.worker.pause)
        backbone = self._backbone if self._backbone is not None and self._backbone.key == note.key else None
        with self._catalogue_lock:
            self.pool, self._backbone, self._features = pool, backbone, features
        assert len(features) == len(catalogue)
        self._facts, self.version = PoolFacts(features), note.name
        return True

    def _newest_note_ns(self) -> int:
        path = Path(self.pool.path) / POOL
        try:
            return os.stat(path).st_mtime_ns
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


@final
class _OneCore:
    """What is ranked ahead leaves the other cores to whoever labels: a key waits for a disk and for three threads.

    A BLAS with a thread for each core is in the way even where the thread that calls it stands back (`worker.NICE`):
    its own threads do not, and they go on spinning when there is nothing to do. How many it has is the process's; so
    the first of several pools that begins limits it, and the last that ends gives it back.
    """

    def __init__(self) -> None:
        self._lock, self._num = threading.Lock(), 0
        self._limit: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        torch.set_num_threads(1)  # of this thread and of later ones
        with self._lock:
            self._num += 1
            if self._num == 1:
                self._limit = _blas().limit(limits=1, user_api="blas")
        try:
            yield
        finally:
            with self._lock:
                self._num -= 1
                if not self._num:
                    self._limit.restore_original_limits()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


ON_ONE_CORE = _OneCore()
