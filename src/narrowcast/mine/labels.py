"""The label log: what people said, event by event, on disk before the call returns. The state is a replay of it.

SQLite with a write-ahead log and synchronous=FULL: a commit survives kill -9 and a power cut, two processes may write.
Nothing is ever changed or removed; undo is another event, and so is undoing an undo.
"""

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Literal, final

from narrowcast.core.errors import StorageError, UsageError, did_you_mean

LOG = "labels.sqlite"
FORMAT = 1
GIVEN = "given to begin with"  # the reason of the labels that a category is begun with
BUSY_S = 30.0  # how long one writer waits for another
Value = Literal["positive", "negative", "unsure"]
VALUES: tuple[Value, ...] = ("positive", "negative", "unsure")
Purpose = Literal["train", "audit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelEvent:
    """One thing that somebody said.

    Attributes:
        category: what it is about.
        kind: "category" (a category begins), "label", or "undo".
        item: content identity of the photo, for labels.
        value: positive, negative or unsure, for labels; the words of a text query, for categories.
        purpose: "audit" labels are a random sample to measure with; nothing is trained on them.
        who: who said it.
        reason: why the photo was shown.
        model: with which model and features.
        path: where the photo was at that time, for people.
        undoes: the event that an "undo" takes back.
        event_id: the same event given twice counts once.
        time_s: seconds since 1970.
    """

    category: str
    kind: Literal["category", "label", "undo"] = "label"
    item: str = ""
    value: str = ""
    purpose: Purpose = "train"
    who: str = ""
    reason: str = ""
    model: str = ""
    path: str = ""
    undoes: str = ""
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time_s: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        check_category(self.category)
        if self.kind == "label" and (self.value not in VALUES or not self.item):
            raise UsageError(f"label '{self.value}' of '{self.item}': expected {', '.join(VALUES)} and a photo")
        if self.kind == "undo" and not self.undoes:
            raise UsageError("an undo without the event that it takes back")
        if not self.event_id:
            raise UsageError("an event without event_id")


COLUMNS = tuple(f.name for f in fields(LabelEvent))


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one category as they stand, by item.

    Attributes:
        train: what models learn from.
        audit: the sample that they are measured with.
        last: the newest label event that counts, which `undo` takes back.
    """

    train: dict[str, Value]
    audit: dict[str, Value]
    last: LabelEvent | None

    def items(self, value: Value, purpose: Purpose = "train") -> list[str]:
        """The items with that label, the oldest first."""
        labels = self.train if purpose == "train" else self.audit
        return [item for item, found in labels.items() if found == value]


@final
class LabelLog:
    """The open log of a pool. May be used by several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, pool: Path) -> "LabelLog":
        """The log in the folder of a pool; a new one where there is none.

        Raises:
            StorageError: it cannot be opened or written, or is damaged.
            UsageError: it is of a later format.
        """
        path = pool / LOG
        with _readable(path):
            connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                if _version(path, connection) < FORMAT:  # to open one that is there writes nothing
                    connection.execute("BEGIN IMMEDIATE")
                    _version(path, connection)  # another process may have made it meanwhile
                    columns = ", ".join(
                        f"{name} {'REAL' if name == 'time_s' else 'TEXT'} NOT NULL"
                        + (" UNIQUE" if name == "event_id" else "")
                        for name in COLUMNS
                    )
                    connection.execute(f"CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, {columns})")
                    connection.execute("CREATE INDEX IF NOT EXISTS by_category ON events (category, seq)")
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
                    connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def __enter__(self) -> "LabelLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the log."""
        self._connection.close()

    def add(self, events: Sequence[LabelEvent]) -> int:
        """Append events, all or none; on disk when this returns. How many were new: a known event_id counts once.

        Raises:
            UsageError: an event_id is known with other content, or an undo takes back what is not there.
            StorageError: the disk is full, or the log cannot be written.
        """
        with self._lock, _readable(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                new = sum(self._insert(event) for event in events)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK") if self._connection.in_transaction else None
                raise
            return new

    def events(self, category: str | None = None, *, after: int = 0) -> Iterator[tuple[int, LabelEvent]]:
        """(sequence number, event) in order, of one category or of all, behind the number `after`."""
        query = f"SELECT seq, {', '.join(COLUMNS)} FROM events WHERE seq > ?"
        values: list[object] = [after]
        if category is not None:
            query, values = f"{query} AND category = ?", [after, category]
        with self._lock, _readable(self.path):
            rows = self._connection.execute(f"{query} ORDER BY seq", values).fetchall()
        for seq, *row in rows:
            yield seq, LabelEvent(**dict(zip(COLUMNS, row, strict=True)))

    def categories(self) -> list[str]:
        """The categories that were begun and not undone, the oldest first."""
        return [event.category for event in effective(event for _, event in self.events()) if event.kind == "category"]

    def labels(self, category: str) -> Labels:
        """The labels of a category as they stand.

        Raises:
            UsageError: there is no such category (with a suggestion).
        """
        events = [event for _, event in self.events(category)]
        if not any(event.kind == "category" for event in effective(events)):
            known = self.categories()
            told = f": {', '.join(known)}" if known else "; begin one with narrowcast mine new"
            raise UsageError(f"{self.path.parent}: no category '{category}'{did_you_mean(category, known)}{told}")
        return replay(events)

    def begin(self, category: str, *, text: str = "", who: str = "") -> None:
        """Begin a category.

        Raises:
            UsageError: its name cannot be one, or is taken.
        """
        if category in self.categories():
            raise UsageError(f"{self.path.parent}: the category '{category}' is there already")
        self.add([LabelEvent(kind="category", category=category, value=text, who=who)])

    def undo(self, category: str, *, who: str = "") -> LabelEvent:
        """Take back the newest label of a category that counts; the label that was taken back.

        Raises:
            UsageError: there is nothing to take back.
        """
        last = self.labels(category).last
        if last is None:
            raise UsageError(f"{self.path.parent}: nothing to take back in '{category}'")
        self.add([LabelEvent(kind="undo", category=category, undoes=last.event_id, who=who)])
        return last

    def check(self) -> str:
        """ "ok", or what SQLite finds wrong with the file."""
        with self._lock, _readable(self.path):
            return str(self._connection.execute("PRAGMA integrity_check").fetchone()[0])

    def _insert(self, event: LabelEvent) -> int:
        if event.kind == "undo":
            target = self._connection.execute("SELECT 1 FROM events WHERE event_id = ?", [event.undoes]).fetchone()
            if target is None:
                raise UsageError(f"{self.path}: no event '{event.undoes}' to take back")
        marks = ", ".join("?" * len(COLUMNS))
        done = self._connection.execute(
            f"INSERT OR IGNORE INTO events ({', '.join(COLUMNS)}) VALUES ({marks})", astuple(event)
        )
        if done.rowcount:
            return 1
        said = self._connection.execute(
            "SELECT category, kind, item, value, undoes FROM events WHERE event_id = ?", [event.event_id]
        ).fetchone()
        if said != (event.category, event.kind, event.item, event.value, event.undoes):
            raise UsageError(f"{self.path}: the event '{event.event_id}' is known with other content; give it a new id")
        return 0


def effective(events: Iterable[LabelEvent]) -> list[LabelEvent]:
    """The events that count: those that no counting undo takes back, undos left out."""
    cancelled: set[str] = set()
    counting = []
    for event in reversed(list(events)):
        if event.event_id in cancelled:
            continue
        if event.kind == "undo":
            cancelled.add(event.undoes)
        else:
            counting.append(event)
    return counting[::-1]


def replay(events: Iterable[LabelEvent]) -> Labels:
    """The state that the events lead to; a photo's newest label counts. One that was audited is not trained on."""
    train: dict[str, Value] = {}
    audit: dict[str, Value] = {}
    last = None
    for event in effective(events):
        if event.kind != "label":
            continue
        labels = train if event.purpose == "train" else audit
        labels.pop(event.item, None)  # the newest comes last
        labels[event.item] = event.value  # type: ignore[assignment] - checked when the event was made
        last = event
    return Labels(train, audit, last)


def check_category(name: str) -> None:
    """Nothing, where `name` can be a category's.

    Raises:
        UsageError: it is empty, a path, or cannot be shown.
    """
    if (
        not name
        or name != name.strip()
        or name.startswith(".")
        or any(c in "/\\:" or not c.isprintable() for c in name)
    ):
        raise UsageError(f"category '{name}': expected a plain name, not a path: no / \\ : and no dot in front")
    if len(name.encode()) > 200:
        raise UsageError(f"category '{name[:40]}…': longer than 200 bytes")


def _version(path: Path, connection: sqlite3.Connection) -> int:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        raise UsageError(f"{path}: labels of format {version}; this narrowcast reads up to {FORMAT}")
    return version


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of SQLite as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path}: cannot be written: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StorageError(f"{path}: not a label log, or damaged: {error}") from error
