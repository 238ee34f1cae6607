"""A pool that is being labelled: its categories, and a desk for each that somebody opened."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.mine.catalogue import Catalogue
from narrowcast.mine.examples import keep_content
from narrowcast.mine.labels import GIVEN, LabelEvent, LabelLog, check_category
from narrowcast.mine.pool import Pool
from narrowcast.models.backbones import Backbone
from narrowcast.web.label_desk import Desk
from narrowcast.web.label_pool import LabelPool
from narrowcast.web.photos import Photos
from narrowcast.web.worker import Worker

MOST_EXAMPLES = 500


class NoCategory(UsageError):
    """There is no category with that name."""


@final
class LabelRoom:
    """What the routes talk to. May be used by several threads."""

    def __init__(self, inside: LabelPool) -> None:
        self.inside = inside
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path, *, backbone: Backbone | None = None) -> "LabelRoom":
        """The room of the pool in that folder.

        Raises:
            UsageError: there is no such pool, or it has no features yet.
            StorageError: something is damaged.
        """
        pool = Pool.open(folder)
        pool.store()
        return cls(LabelPool(pool, LabelLog.open(folder), backbone=backbone))

    def close(self) -> None:
        """End the work; everything that was said is on disk already."""
        self.inside.close()

    @property
    def pool(self) -> Pool:
        """The pool as it is now."""
        return self.inside.pool

    @property
    def log(self) -> LabelLog:
        """What everybody said."""
        return self.inside.log

    @property
    def photos(self) -> Photos:
        """The photos for browsers."""
        return self.inside.photos

    @property
    def worker(self) -> Worker:
        """What takes long is done there."""
        return self.inside.worker

    def catalogue(self) -> Catalogue:
        """The photos by number and identity."""
        return self.inside.catalogue()

    def load(self) -> None:
        """Read what everybody needs before anybody asks; in the worker only."""
        self.inside.load()

    def has_text(self) -> bool:
        """Whether the backbone knows words; in the worker only."""
        return self.inside.has_text()

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
                self._desks[category] = Desk(self.inside, category)
            return self._desks[category]

    def open_desk(self, category: str) -> Desk | None:
        """The desk of a category that somebody has opened already; without waiting for anything."""
        return self._desks.get(category)

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
        unknown = [item for item in items if not self.inside.knows(item)]
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
