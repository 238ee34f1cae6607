"""What a request of the labelling page asks for, checked value by value: whatever comes is used or refused."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from narrowcast.core.errors import UsageError, did_you_mean
from narrowcast.mine.labels import VALUES, LabelEvent
from narrowcast.web.label_desk import Desk
from narrowcast.web.label_house import LabelHouse, NoPool
from narrowcast.web.label_room import LabelRoom, NoCategory

EVENT_ID = re.compile(r"[0-9A-Za-z-]{8,64}(\.[0-9]{1,6})?")
LABEL_KEYS = frozenset(["event_id", "kind", "item", "value", "purpose", "reason", "model"])
UNDO_KEYS = frozenset(["event_id", "kind", "undoes"])
MOST_NAME = 60  # letters of a person's name


@final
class Asked:
    """The values of a request, by name.

    Args:
        known: the names that there are; any other is refused. None: those of an address, where others do no harm.
    """

    def __init__(self, values: Mapping[str, Any], known: Collection[str] | None = None) -> None:
        self._values = values
        unknown = sorted(set(values) - set(known)) if known is not None else []
        if unknown:
            raise UsageError(f"unknown '{unknown[0][:40]}'{did_you_mean(unknown[0], known or [])}")

    def text(self, name: str, default: str | None = None, *, most: int) -> str:
        """A plain text of at most `most` letters; required where there is no default."""
        value = self._values.get(name, default)
        if not isinstance(value, str) or len(value) > most or not (value.isprintable() or not value):
            raise UsageError(f"'{name}': expected a text of at most {most} letters")
        return value

    def texts(self, name: str, *, most: int) -> list[str]:
        """A list of plain texts; empty where there is none."""
        values = self._values.get(name, [])
        if not isinstance(values, list) or len(values) > most or not all(isinstance(v, str) for v in values):
            raise UsageError(f"'{name}': expected a list of at most {most} texts")
        return values

    def objects(self, name: str, *, most: int) -> list[dict[str, Any]]:
        """A list of objects, at least one."""
        values = self._values.get(name)
        if not isinstance(values, list) or not 0 < len(values) <= most or not all(isinstance(v, dict) for v in values):
            raise UsageError(f"'{name}': expected a list of 1 to {most} objects")
        return values

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds; in an address it comes as text."""
        value = self._values.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            raise UsageError(f"'{name}': expected a number from {least} to {most}")
        return value

    def one_of(self, name: str, known: Sequence[str], default: str | None = None) -> str:
        """One of the known words."""
        value = self._values.get(name, default)
        if not isinstance(value, str) or value not in known:
            raise UsageError(f"'{name}': expected one of {', '.join(known)}{did_you_mean(str(value)[:40], known)}")
        return value

    def who(self) -> str:
        """The person's name; "" is somebody without one."""
        return self.text("who", "", most=MOST_NAME).strip()

    def event_id(self) -> str:
        """The identity of an event, which the page makes up."""
        value = self._values.get("event_id")
        if not isinstance(value, str) or not EVENT_ID.fullmatch(value):
            raise UsageError("'event_id': expected 8 to 64 letters, digits and -, and perhaps a number behind a dot")
        return value


async def room_of(house: LabelHouse, request: Request) -> LabelRoom:
    """The room of the pool in the request's path.

    Raises:
        HTTPException: 404 where there is none.
    """
    identity = request.path_params["pool"]
    try:
        return house.open_room(identity) or await run_in_threadpool(house.room, identity)
    except NoPool as error:
        raise HTTPException(404, str(error)) from None


async def desk_of(house: LabelHouse, request: Request) -> Desk:
    """The desk of the category in the request's path.

    Raises:
        HTTPException: 404 where there is none.
    """
    room, name = await room_of(house, request), request.path_params["category"]
    try:
        return room.open_desk(name) or await run_in_threadpool(room.desk, name)
    except NoCategory as error:
        raise HTTPException(404, str(error)) from None


def event_of(values: dict[str, Any], desk: Desk, who: str) -> LabelEvent:
    """The event that a page sends: a label, or an undo of one event.

    Raises:
        UsageError: it is none; the message says which value is wrong.
    """
    if values.get("kind", "label") == "undo":
        asked = Asked(values, UNDO_KEYS)
        undoes = asked.text("undoes", most=80)
        desk.check_undo(undoes)
        return LabelEvent(category=desk.category, kind="undo", undoes=undoes, who=who, event_id=asked.event_id())
    asked = Asked(values, LABEL_KEYS)
    asked.one_of("kind", ["label"], "label")
    return LabelEvent(
        category=desk.category,
        item=asked.text("item", most=32),
        value=asked.one_of("value", VALUES),
        purpose="audit" if asked.one_of("purpose", ["train", "audit"], "train") == "audit" else "train",
        who=who,
        reason=asked.text("reason", "", most=40),
        model=asked.text("model", "", most=200),
        path=desk.path_of(values["item"]),
        event_id=asked.event_id(),
    )
