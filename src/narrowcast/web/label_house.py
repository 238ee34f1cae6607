"""The pools of a labelling page: a card for each, a room for those that somebody opens; by identity, never by path."""

import hashlib
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

from narrowcast.core.errors import UsageError, did_you_mean
from narrowcast.mine.pool import POOL, Pool
from narrowcast.models.backbones import Backbone
from narrowcast.web.label_cards import PoolCard, PoolCards
from narrowcast.web.label_room import LabelRoom

MOST_OPEN = 4  # pools that stay open whoever left them; ours: a million photos each are some hundred megabytes
AWAY_S = 900.0  # a pool beyond those is closed when nobody has asked for anything of it for so long; as `label_desk`'s
UNSAFE = re.compile(r"[^a-z0-9]+")


class NoPool(UsageError):
    """There is no pool with that identity."""


@final
class LabelHouse:
    """What the routes begin with. May be used by several threads.

    A pool's photos, features and models are in memory from when its page is first asked for; a card costs a look at its
    label log and at the headers of its features.

    Args:
        folders: pools, each with features already.
        within: a folder whose pools are served as well, those that appear later included.
        backbone: of all of them; None: loaded by its name where it is needed.
    """

    def __init__(
        self, folders: Sequence[Path], *, within: Path | None = None, backbone: Backbone | None = None
    ) -> None:
        self._given = {pool_id(folder): folder for folder in folders}
        self._within, self._backbone = within, backbone
        self._known: dict[str, Path] = {}
        self._rooms: dict[str, LabelRoom] = {}
        self._used: dict[str, float] = {}
        self._closing: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._cards = PoolCards()

    @classmethod
    def open(
        cls, folders: Sequence[Path], *, within: Path | None = None, backbone: Backbone | None = None
    ) -> "LabelHouse":
        """The house of these pools.

        Raises:
            UsageError: one is no pool, or has no features yet; or there is none at all.
            StorageError: one is damaged.
        """
        house = cls(folders, within=within, backbone=backbone)
        for folder in folders:
            Pool.open(folder).store()
        if within is not None and (within / POOL).exists():
            raise UsageError(f"--pools {within}: is a pool itself; use --pool")
        if not house.folders():
            raise UsageError(f"--pools {within}: no pool is in it; make one with narrowcast mine index PHOTOS --pool …")
        if house.only is not None:
            house.room(house.only)
        return house

    def close(self) -> None:
        """End the work; everything that was said is on disk already."""
        with self._lock:
            rooms, closing = list(self._rooms.values()), list(self._closing)
            self._rooms.clear()
        for room in rooms:
            room.close()
        for thread in closing:
            thread.join(60)

    @property
    def only(self) -> str | None:
        """The one pool that there is and will be; None where there are several, or may be."""
        return next(iter(self._given)) if self._within is None and len(self._given) == 1 else None

    def folders(self) -> dict[str, Path]:
        """Where each pool is, by its identity; looks again for new ones."""
        found = dict(self._given)
        if self._within is not None:
            try:
                inside = sorted(path.parent for path in self._within.glob(f"*/{POOL}"))
            except OSError as error:
                raise UsageError(f"--pools {self._within}: cannot be read: {error.strerror}") from error
            for folder in inside:
                found.setdefault(pool_id(folder), folder)
        self._known = found
        return found

    def room(self, identity: str) -> LabelRoom:
        """The room of a pool; opened, where nobody did that yet, and then it reads what everybody there needs.

        Raises:
            NoPool: there is none.
            UsageError, StorageError: it cannot be opened.
        """
        with self._lock:
            room = self.open_room(identity)
            if room is None:
                folder = self._known.get(identity) or self.folders().get(identity)
                if folder is None:
                    raise NoPool("no such pool")
                room = LabelRoom.open(folder, backbone=self._backbone)
                room.worker.ahead("load", room.load)
                self._rooms[identity], self._used[identity] = room, time.monotonic()
                self._leave()
            return room

    def open_room(self, identity: str) -> LabelRoom | None:
        """The room of a pool that is open already; without waiting for anything."""
        room = self._rooms.get(identity)
        if room is not None:
            self._used[identity] = time.monotonic()
        return room

    def _leave(self) -> None:
        """Close what nobody has used for long, beyond the few that stay open; with the lock."""
        self._closing = [thread for thread in self._closing if thread.is_alive()]
        for identity in sorted(self._rooms, key=lambda one: self._used[one]):
            if len(self._rooms) <= MOST_OPEN or time.monotonic() - self._used[identity] < AWAY_S:
                return
            thread = threading.Thread(target=self._rooms.pop(identity).close, name="narrowcast-leave", daemon=True)
            self._closing.append(thread)
            thread.start()

    # --- the start page -----------------------------------------------------------------------------------------------

    def cards(self) -> list[PoolCard]:
        """What is known of every pool without opening it, the one that was labelled last first."""
        folders = self.folders()
        named: dict[str, int] = {}
        for folder in folders.values():
            named[folder.resolve().name] = named.get(folder.resolve().name, 0) + 1
        cards = []
        for identity, folder in folders.items():
            path = folder.resolve()
            name = path.name if named[path.name] == 1 else f"{path.name} in {path.parent.name}"
            room = self._rooms.get(identity)
            cards.append(self._cards.card(identity, name, folder, log=room.log if room is not None else None))
        return sorted(cards, key=lambda card: (-(card.last_s or 0), card.name))

    def with_category(self, category: str) -> str:
        """The identity of the one pool that has a category of that name.

        Raises:
            UsageError: none has, or several have.
        """
        if self.only is not None:
            self.room(self.only).desk(category)  # says that there is none
            return self.only
        cards = self.cards()
        having = [card for card in cards if category in card.names()]
        if len(having) == 1:
            return having[0].identity
        if not having:
            known = [name for card in cards for name in card.names()]
            raise UsageError(f"--category: no category '{category}' in any of the pools{did_you_mean(category, known)}")
        raise UsageError(f"--category {category}: {len(having)} pools have one; name one pool with --pool")


def pool_id(folder: Path) -> str:
    """A pool's identity in addresses: its folder's name, made plain, and eight letters that follow from where it is.

    The same for as long as it stays there, so that bookmarks hold; nobody gets from it to a path.
    """
    path = folder.resolve()
    plain = UNSAFE.sub("-", path.name.lower()).strip("-")[:40]
    digest = hashlib.blake2b(str(path).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return f"{plain}-{digest}" if plain else digest
