"""One category at work: labels in at once, sheets prepared ahead, and what a page shows beside them.

What is said goes to the log and is acknowledged; models, rankings and numbers that need them follow in the worker.
"""

import hashlib
import json
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from typing import Any, TypeVar, final

import numpy as np

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.core.files import write_json
from narrowcast.mine.labels import LabelEvent
from narrowcast.mine.ledger import GROUP, Ledger
from narrowcast.mine.session import RECENT, MiningSession
from narrowcast.web.label_cards import numbers_of
from narrowcast.web.label_numbers import Overview, look
from narrowcast.web.label_pool import LabelPool
from narrowcast.web.label_sheet import Rank, Sheet, Wish, compose, glance, name_of, whole
from narrowcast.web.photos import CACHE

Result = TypeVar("Result")
AWAY_S = 900.0  # somebody who was not heard of for so long gives his photos back; ours
PATIENCE_S = 120.0  # for a sheet that is not prepared: reading a pool of millions takes its time
CURVE = 200  # points of the curve of finds


@final
class Desk:
    """A category with everybody who labels it. May be used by several threads."""

    def __init__(self, pool: LabelPool, category: str) -> None:
        self._pool, self.category = pool, category
        self._lock = threading.RLock()
        self._ledger = Ledger(pool.log, category)
        self._rng = np.random.default_rng(zlib.crc32(category.encode()))
        self._session_kept: MiningSession | None = None
        self._sheets: dict[str, Sheet] = {}
        self._prepared: dict[str, Sheet] = {}
        self._wanted: dict[str, tuple[str, int]] = {}
        self._passed: dict[str, set[str]] = {}
        self._seen: dict[str, float] = {}
        self._overview: Overview | None = None
        self._problem = ""
        with self._lock:
            self._ledger.follow()

    # --- what was said: never waits for the worker --------------------------------------------------------------------

    def record(self, events: Sequence[LabelEvent]) -> None:
        """Append labels; they are on disk when this returns. An event that is known counts once.

        Raises:
            UsageError: a photo is not in the pool, or an event is known with other content.
            StorageError: it could not be written.
        """
        for event in events:
            if event.kind == "label" and not self._pool.knows(event.item):
                raise UsageError(f"photo '{event.item[:40]}': there is none")
        self._pool.log.add(events)
        self._follow()

    def check_undo(self, event_id: str) -> None:
        """Nothing, where that is a label or an undo of this category: a category's beginning stays.

        Raises:
            UsageError: it is not.
        """
        with self._lock:
            self._ledger.follow()
            if not any(event.event_id == event_id and event.kind != "category" for _, event in self._ledger.events):
                raise UsageError("'undoes': no such label in this category")

    def path_of(self, item: str) -> str:
        """Where a photo is, for people; "" outside of the pool."""
        catalogue = self._pool.catalogue()
        pool_ix = catalogue.ix_of(item)
        return catalogue.path(pool_ix) if pool_ix is not None else ""

    def names(self, items: Sequence[str]) -> dict[str, str]:
        """What the files of photos are called."""
        catalogue = self._pool.catalogue()
        return {item: name_of(catalogue, item) for item in items}

    def undo(self, who: str, action: str) -> list[LabelEvent]:
        """Take back what that person said last; the labels that were taken back. The same `action` does so once."""
        with self._lock:
            self._ledger.follow()
            known = {event.event_id: event for _, event in self._ledger.events}
            done = [e for e in known.values() if e.kind == "undo" and e.event_id.startswith(f"{action}{GROUP}")]
            if done:
                return [known[event.undoes] for event in done]
            undone = self._ledger.newest_action(who)
            self._pool.log.add(
                [
                    LabelEvent(
                        category=self.category,
                        kind="undo",
                        undoes=event.event_id,
                        who=who,
                        event_id=f"{action}{GROUP}{number}",
                    )
                    for number, event in enumerate(undone)
                ]
            )
        self._follow()
        return undone

    def _follow(self) -> None:
        with self._lock:
            is_new = self._ledger.follow()
        if is_new:
            self._ahead()

    # --- sheets -------------------------------------------------------------------------------------------------------

    def sheet(self, who: str, *, mode: str, num: int) -> Sheet:
        """The sheet that this person has; where there is none, a first one."""
        self._hear(who)
        with self._lock:
            self._wanted[who] = (mode, num)
            if who not in self._sheets:
                kept = self._read_sheet(who)
                if kept is not None:
                    self._sheets[who] = kept
                    self._ahead()
            if who in self._sheets:
                return self._sheets[who]
        return self._turn(who, mode=mode, num=num)

    def next(self, who: str, *, mode: str, num: int, sheet_id: str) -> Sheet:
        """The sheet behind the one called `sheet_id`; where that is not the present one any more, the present one.

        So the same request twice, or from two tabs, turns one page.
        """
        self._hear(who)
        with self._lock:
            self._wanted[who] = (mode, num)
            current = self._sheets.get(who)
            if current is not None and current.sheet_id != sheet_id:
                return current
            if current is not None:  # what was passed over without a word is not shown again at once
                self._passed.setdefault(who, set()).update(current.items())
        return self._turn(who, mode=mode, num=num)

    def _turn(self, who: str, *, mode: str, num: int) -> Sheet:
        with self._lock:
            ready = self._prepared.pop(who, None)
            # a note is of its moment
            sheet = None if ready is None or ready.mode != mode or ready.note else self._still_open(ready)
        if sheet is None or len(sheet.tiles) < num // 2 or len(sheet.tiles) > num:
            sheet = self.call(lambda session: self._compose(session, who, mode, num, rank=glance))
        with self._lock:
            self._sheets[who] = sheet
        self._write_sheet(sheet)
        self._ahead()
        return sheet

    def _still_open(self, sheet: Sheet) -> Sheet:
        """The sheet without what was labelled, or given to others, while it was waiting."""
        if sheet.mode == "second":
            return sheet
        gone = {*self._ledger.train, *self._ledger.audit, *self._taken(sheet.who)}
        kept = tuple(tile for tile in sheet.tiles if tile.item not in gone)
        return Sheet(who=sheet.who, mode=sheet.mode, tiles=kept, note=sheet.note, sheet_id=sheet.sheet_id)

    def _taken(self, who: str) -> set[str]:
        """What the others have in hand now; with the lock."""
        now = time.monotonic()
        return {
            item
            for other, sheet in self._sheets.items()
            if other != who and now - self._seen.get(other, -AWAY_S) < AWAY_S
            for item in sheet.items()
        }

    def _hear(self, who: str) -> None:
        with self._lock:
            self._seen[who] = time.monotonic()

    # --- in the worker ------------------------------------------------------------------------------------------------

    def call(self, what: Callable[[MiningSession], Result]) -> Result:
        """`what` of the session, up to date with the log, before anything that is done ahead."""

        def done() -> Result:
            session = self._session()
            with session.held():
                return what(session)

        future: Future[Result] = self._pool.worker.call(done)
        return future.result(PATIENCE_S)

    def _session(self) -> MiningSession:
        self._pool.follow()
        session = self._session_kept
        if session is None or session.version != self._pool.version:
            session = self._session_kept = self._opened()
        session.refresh()
        return session

    def _opened(self) -> MiningSession:
        self._pool.catalogue()  # under its lock: the session reads it, too
        features, facts = self._pool.features()
        with self._lock:  # ranked by other features, if at all
            self._prepared.clear()
        return MiningSession(
            self._pool.pool,
            self._pool.log,
            self.category,
            features=features,
            facts=facts,
            load=self._pool.backbone,
        )

    def _ahead(self) -> None:
        self._pool.worker.ahead(("prepare", self.category), self._prepare)

    def _prepare(self) -> None:
        """Fit, rank, and compose the next sheet of everybody who is here; then the numbers beside the grid."""
        try:
            session = self._session()
            with self._lock:
                now = time.monotonic()
                here = {who: self._wanted[who] for who in self._wanted if now - self._seen[who] < AWAY_S}
            with session.held():  # one fit and one pass over the pool, whatever is said meanwhile
                for who, (mode, num) in here.items():
                    ready = self._compose(session, who, mode, num, rank=whole)
                    with self._lock:
                        self._prepared[who] = ready
                overview = look(session, self._ledger)
            with self._lock:
                self._overview, self._problem = overview, ""
        except (UsageError, StorageError) as error:
            with self._lock:
                self._problem = str(error)

    def _compose(self, session: MiningSession, who: str, mode: str, num: int, *, rank: Rank) -> Sheet:
        with self._lock:
            taken = self._taken(who)
            for other, sheet in self._prepared.items():
                if other != who:
                    taken.update(sheet.items())
            seen = set(self._passed.get(who, ()))
            if who in self._sheets:
                seen.update(self._sheets[who].items())
            if mode == "audit":  # every photo of an audit must have an answer
                seen.clear()
        wish = Wish(who=who, mode=mode, num=num, taken=taken | seen, rank=rank)
        sheet = compose(session, self._ledger, wish, rng=self._rng)
        if not sheet.tiles and seen:  # nothing else is left: what was passed over comes again
            with self._lock:
                self._passed.pop(who, None)
            sheet = compose(session, self._ledger, replace(wish, taken=taken), rng=self._rng)
        return sheet

    # --- what a page shows --------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """The category in one line."""
        with self._lock:
            self._ledger.follow()
            return asdict(numbers_of(self._ledger, self.category))

    def quick(self) -> dict[str, Any]:
        """What follows from the labels alone."""
        with self._lock:
            finds = self._ledger.finds
            recent = [int(b) - int(a) for a, b in zip([0, *finds][-RECENT - 1 :], finds[-RECENT:], strict=False)]
            steps = np.unique(np.linspace(0, len(finds), CURVE).astype(int)).tolist() if finds else []
            return {
                **self.summary(),
                "seq": self._ledger.seq,
                "curve": [[step, finds[step - 1] if step else 0] for step in steps],
                "expected_rate": (sum(recent) + 0.5) / (len(recent) + 1) if recent else None,
                "recent": [sum(recent), len(recent)],
            }

    def state(self, who: str) -> dict[str, Any]:
        """All that is beside the grid, and whether the next sheet is ready."""
        self._hear(who)
        self._follow()
        if self._pool.is_behind():
            self._ahead()
        with self._lock:
            ready = self._prepared.get(who)
            current = self._sheets.get(who)
            agreement = self._ledger.agreement()
            return {
                **self.quick(),
                "sheet_id": current.sheet_id if current is not None else "",
                "ready": [tile.item for tile in ready.tiles] if ready is not None else [],
                "overview": self._overview.to_json() if self._overview is not None else None,
                "problem": self._problem or self._pool.problem,
                "features": self._pool.version,
                "by_person": self._ledger.people(),
                "here": [name for name, at in self._seen.items() if time.monotonic() - at < 60],
                "agreement": {"num": agreement.num, "share": agreement.share, "kappa": agreement.kappa},
            }

    def said(self, items: Sequence[str], who: str, mode: str = "mixed") -> dict[str, str]:
        """The labels of these photos; in second looks, only what that person said himself."""
        with self._lock:
            self._ledger.follow()
            if mode == "second":
                said = self._ledger.said
                return {item: said[item][who] for item in items if who in said.get(item, {})}
            labels = {**self._ledger.train, **self._ledger.audit}
            return {item: labels[item] for item in items if item in labels}

    @property
    def ledger(self) -> Ledger:
        """The labels as they stand; do not write."""
        self._follow()
        return self._ledger

    # --- sheets on disk -----------------------------------------------------------------------------------------------

    def _sheet_path(self, who: str) -> Any:
        name = hashlib.blake2b(f"{self.category}\0{who}".encode(), digest_size=12).hexdigest()
        return self._pool.pool.path / CACHE / "sheets" / f"{name}.json"

    def _write_sheet(self, sheet: Sheet) -> None:
        """So that a restart shows the same page at once."""
        try:
            write_json(self._sheet_path(sheet.who), sheet.to_json())
        except StorageError as error:
            with self._lock:
                self._problem = str(error)

    def _read_sheet(self, who: str) -> Sheet | None:
        try:
            return Sheet.from_json(json.loads(self._sheet_path(who).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
