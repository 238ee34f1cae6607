"""What a start page says of pools that nobody has opened: photos, categories, labels, when somebody labelled last."""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from narrowcast.core.errors import NarrowcastError
from narrowcast.mine.labels import LOG, LabelLog
from narrowcast.mine.ledger import Ledger
from narrowcast.mine.pool import ITEMS, POOL, Pool

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoryNumbers:
    """A category in one line.

    Attributes:
        positive, negative, unsure: labels that count, those that it was begun with included.
        audited: labels of the audit, which nothing is trained on.
        people: who gave them.
        last_s: when the newest was given, in seconds since 1970; None without any.
    """

    name: str
    positive: int
    negative: int
    unsure: int
    audited: int
    people: int
    last_s: float | None

    @property
    def num_labels(self) -> int:
        """All labels that count."""
        return self.positive + self.negative + self.unsure + self.audited


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolCard:
    """A pool in a few lines.

    Attributes:
        problem: why the rest is not known, or not all of it; "" where nothing is wrong.
    """

    identity: str
    name: str
    photos: int = 0
    features: str = ""
    categories: tuple[CategoryNumbers, ...] = ()
    problem: str = ""

    @property
    def last_s(self) -> float | None:
        """When somebody labelled last."""
        return max((one.last_s for one in self.categories if one.last_s is not None), default=None)

    def names(self) -> list[str]:
        """Of the categories."""
        return [one.name for one in self.categories]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "positive": sum(one.positive for one in self.categories),
            "labels": sum(one.num_labels for one in self.categories),
            "last_s": self.last_s,
        }


@final
class PoolCards:
    """Cards, read again where something of a pool was written meanwhile. May be used by several threads."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Stamp, PoolCard]] = {}
        self._lock = threading.Lock()

    def card(self, identity: str, name: str, folder: Path, *, log: LabelLog | None = None) -> PoolCard:
        """What is known of a pool; one that cannot be read says why.

        Args:
            log: its labels, where they are open.
        """
        stamp = stamp_of(folder)
        with self._lock:
            kept = self._kept.get(identity)
        if kept is not None and kept[0] == stamp and kept[1].name == name:
            return kept[1]
        try:
            pool = Pool.open(folder)
            store = pool.store()
            photos = len(store.stored(pool.num_shards))
            card = PoolCard(
                identity=identity,
                name=name,
                photos=photos,
                features=store.note.name,
                categories=tuple(_categories(folder, log)),
            )
        except NarrowcastError as error:
            return PoolCard(identity=identity, name=name, problem=str(error).replace(str(folder), name))
        with self._lock:
            self._kept[identity] = stamp, card
        return card


def numbers_of(ledger: Ledger, category: str) -> CategoryNumbers:
    """A category as its labels stand."""
    values = list(ledger.train.values())
    last = next((event.time_s for event in reversed(ledger.counting) if event.kind == "label"), None)
    return CategoryNumbers(
        name=category,
        positive=values.count("positive"),
        negative=values.count("negative"),
        unsure=values.count("unsure"),
        audited=len(ledger.audit),
        people=len(ledger.people()),
        last_s=last,
    )


def stamp_of(folder: Path) -> Stamp:
    """What changes when somebody labels, indexes, or learns features: times and sizes of what is written then."""
    return tuple(_stamp(folder / name) for name in (POOL, ITEMS, LOG, f"{LOG}-wal"))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _categories(folder: Path, log: LabelLog | None) -> Iterable[CategoryNumbers]:
    if log is None and not (folder / LOG).exists():  # a look makes no files
        return []
    opened = log or LabelLog.open(folder)
    try:
        found = []
        for category in opened.categories():
            ledger = Ledger(opened, category)
            ledger.follow()
            found.append(numbers_of(ledger, category))
        return found
    finally:
        if log is None:
            opened.close()
