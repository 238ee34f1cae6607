"""A pool that is being labelled: what all its categories share, and their desks."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float16

from narrowcast.core.errors import NarrowcastError, SourceError, UsageError
from narrowcast.mine.catalogue import Catalogue
from narrowcast.mine.examples import EXAMPLES, keep_content
from narrowcast.mine.labels import GIVEN, LabelEvent, LabelLog, check_category
from narrowcast.mine.miner import PoolFacts
from narrowcast.mine.pool import Pool
from narrowcast.models.backbones import Backbone, load_backbone
from narrowcast.web.label_desk import Desk
from narrowcast.web.photos import IDENTITY, Photos
from narrowcast.web.worker import Worker

MOST_EXAMPLES = 500


class NoCategory(UsageError):
    """There is no category with that name."""


@final
class LabelRoom:
    """An open pool with its log, a worker for what takes long, and a desk for each category that somebody opened."""

    def __init__(self, pool: Pool, log: LabelLog, *, backbone: Backbone | None = None) -> None:
        self.pool, self.log, self.photos = pool, log, Photos(self.catalogue, pool.path)
        self.worker = Worker("narrowcast-label")
        self._backbone = backbone
        self._features: Float16[np.ndarray, "pool dim"] | None = None
        self._facts: PoolFacts | None = None
        self._desks: dict[str, Desk] = {}
        self._lock, self._catalogue_lock = threading.Lock(), threading.Lock()

    @classmethod
    def open(cls, folder: Path, *, backbone: Backbone | None = None) -> "LabelRoom":
        """The room of the pool in that folder.

        Raises:
            UsageError: there is no such pool, or it has no features yet.
            StorageError: something is damaged.
        """
        pool = Pool.open(folder)
        pool.store()
        return cls(pool, LabelLog.open(folder), backbone=backbone)

    def close(self) -> None:
        """End the work; everything that was said is on disk already."""
        self.worker.close()
        self.log.close()

    # --- what categories share ----------------------------------------------------------------------------------------

    def catalogue(self) -> Catalogue:
        """The photos by number and identity; read once, by whoever needs it first."""
        with self._catalogue_lock:
            return self.pool.catalogue

    def features(self) -> tuple[Float16[np.ndarray, "pool dim"], PoolFacts]:
        """Features of the pool and what is known of them; in the worker only."""
        if self._features is None or self._facts is None:
            self._features = self.pool.features()
            self._facts = PoolFacts(self._features)
        return self._features, self._facts

    def load(self) -> None:
        """Read what everybody needs before anybody asks; in the worker only."""
        self.catalogue()
        self.features()

    def backbone(self) -> Backbone:
        """What makes features of examples and words; in the worker only."""
        if self._backbone is None:
            self._backbone = load_backbone(self.pool.store().note.backbone)
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

    # --- categories ---------------------------------------------------------------------------------------------------

    def desk(self, category: str) -> Desk:
        """The desk of a category.

        Raises:
            NoCategory: there is none.
        """
        with self._lock:
            if category not in self._desks:
                if category not in self.log.categories():
                    raise NoCategory(f"no category '{category}'")
                self._desks[category] = Desk(self, category)
            return self._desks[category]

    def categories(self) -> list[dict[str, Any]]:
        """Every category with its numbers."""
        return [self.desk(name).summary() for name in self.log.categories()]

    def keep(self, content: bytes, *, name: str) -> str:
        """Keep a dropped file; its identity. A photo of the pool is not kept twice.

        Raises:
            SourceError: it is no photo.
        """
        return keep_content(self.pool, content, name=name)

    def begin(self, name: str, items: Sequence[str], *, text: str, who: str) -> Desk:
        """Begin a category from photos, words, or nothing but clicks.

        Raises:
            UsageError: the name is taken or cannot be one, or the words cannot be understood.
            SourceError: a photo is not there.
        """
        check_category(name)
        unknown = [item for item in items if not self.knows(item)]
        if unknown or len(items) > MOST_EXAMPLES:
            raise SourceError(f"photo {unknown[0]}: there is none" if unknown else f"more than {MOST_EXAMPLES} photos")
        if text and not self.worker.call(self.has_text).result():
            raise UsageError("the backbone of this pool knows no words; begin with photos")
        with self._lock:
            if name in self.log.categories():
                raise UsageError(f"the category '{name}' is there already")
            begin = LabelEvent(kind="category", category=name, value=text, who=who)
            given = [
                LabelEvent(category=name, item=item, value="positive", who=who, reason=GIVEN)
                for item in dict.fromkeys(items)
            ]
            self.log.add([begin, *given])
        return self.desk(name)

    def sample(self, num: int, seed: int) -> list[str]:
        """Random photos, to pick examples from."""
        catalogue = self.catalogue()
        chosen = np.random.default_rng(seed).permutation(len(catalogue))[:num]
        return [catalogue.item(ix) for ix in chosen.tolist()]
