"""Routes of one category: its page, sheets, labels, the numbers beside them and the other views."""

from collections.abc import Awaitable, Callable
from typing import Any, final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from narrowcast.mine.labels import LabelEvent
from narrowcast.web import label_views as views
from narrowcast.web.answers import json_ok, read_object
from narrowcast.web.application import page
from narrowcast.web.label_asked import Asked, desk_of, event_of, room_of
from narrowcast.web.label_desk import Desk
from narrowcast.web.label_house import LabelHouse
from narrowcast.web.label_sheet import LEAST, MODES, MOST, Sheet

OF = "/api/p/{pool}/c/{category}"
MOST_EVENTS = 2000  # of one request
View = Callable[[Desk, Asked], dict[str, Any]]
VIEWS: dict[str, View] = {
    "pseudo": lambda desk, asked: views.pseudo_negatives(desk),
    "positives": lambda desk, asked: views.positives(desk, first=asked.number("first", 0, 0, 2**31)),
    "disagreements": lambda desk, asked: views.disagreements(desk),
    "history": lambda desk, asked: views.history(desk, before=asked.number("before", 0, 0, 2**53)),
    "like": lambda desk, asked: views.more_like(desk, asked.text("item", most=32), _num(asked)),
    "map": lambda desk, asked: views.embedding_map(desk),
}


@final
class DeskRoutes:
    """What is asked of a category.

    Args:
        who: the name that the page shows until somebody gives another.
    """

    def __init__(self, house: LabelHouse, who: str) -> None:
        self._house, self._who = house, who

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/p/{pool}/c/{category}", self.label),
            Route(f"{OF}/sheet", self.get_sheet),
            Route(f"{OF}/next", self.post_next, methods=["POST"]),
            Route(f"{OF}/events", self.post_events, methods=["POST"]),
            Route(f"{OF}/state", self.get_state),
            Route(f"{OF}/audit", self.post_audit, methods=["POST"]),
            *(Route(f"{OF}/{name}", self._view(find)) for name, find in VIEWS.items()),
        ]

    async def label(self, request: Request) -> Response:
        desk = await desk_of(self._house, request)
        room, identity = await room_of(self._house, request), request.path_params["pool"]
        name, has_more = room.pool.path.name, self._house.only is None
        return page("label", pool=name, pool_id=identity, has_more=has_more, who=self._who, category=desk.category)

    async def get_sheet(self, request: Request) -> Response:
        asked, desk = Asked(dict(request.query_params)), await desk_of(self._house, request)
        return await _sheet(desk, lambda: desk.sheet(asked.who(), mode=_mode(asked), num=_num(asked)))

    async def post_next(self, request: Request) -> Response:
        desk = await desk_of(self._house, request)
        asked = Asked(await read_object(request), {"who", "mode", "num", "sheet_id"})
        who, mode, num, sheet_id = asked.who(), _mode(asked), _num(asked), asked.text("sheet_id", "", most=64)
        return await _sheet(desk, lambda: desk.next(who, mode=mode, num=num, sheet_id=sheet_id))

    async def post_events(self, request: Request) -> Response:
        desk = await desk_of(self._house, request)
        asked = Asked(await read_object(request), {"who", "events"})
        who, given = asked.who(), asked.objects("events", most=MOST_EVENTS)
        return json_ok(**await run_in_threadpool(_write, desk, who, given))

    async def get_state(self, request: Request) -> Response:
        desk = await desk_of(self._house, request)
        return json_ok(**await run_in_threadpool(desk.state, Asked(dict(request.query_params)).who()))

    async def post_audit(self, request: Request) -> Response:
        desk = await desk_of(self._house, request)
        asked = Asked(await read_object(request), {"num", "seed"})
        num, seed = asked.number("num", 200, 1, 100_000), asked.number("seed", 0, 0, 2**31)
        await run_in_threadpool(views.audit, desk, num, seed=seed)
        return json_ok(num=num)

    def _view(self, find: View) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            desk, asked = await desk_of(self._house, request), Asked(dict(request.query_params))
            return json_ok(**await run_in_threadpool(_found, desk, find, asked))

        return answer


def _mode(asked: Asked) -> str:
    return asked.one_of("mode", MODES, "mixed")


def _num(asked: Asked) -> int:
    return asked.number("num", 24, LEAST, MOST)


async def _sheet(desk: Desk, find: Callable[[], Sheet]) -> Response:
    def found() -> dict[str, Any]:
        sheet = find()
        return {"sheet": sheet.to_json(), "labels": desk.said(sheet.items(), sheet.who, sheet.mode)}

    return json_ok(**await run_in_threadpool(found))


def _write(desk: Desk, who: str, given: list[dict[str, Any]]) -> dict[str, Any]:
    """Labels and undos to disk; what became of the photos."""
    undone: list[LabelEvent] = []
    if len(given) == 1 and given[0].get("kind") == "undo" and "undoes" not in given[0]:
        undone = desk.undo(who, Asked(given[0], {"kind", "event_id"}).event_id())
    else:
        desk.record([event_of(values, desk, who) for values in given])
    items = [event.item for event in undone] or [values["item"] for values in given if "item" in values]
    return {
        "numbers": desk.quick(),
        "undone": [{"item": event.item, "value": event.value} for event in undone],
        "labels": desk.said(items, who),
    }


def _found(desk: Desk, find: View, asked: Asked) -> dict[str, Any]:
    """A view, with the labels and the names of all photos in it."""
    values = find(desk, asked)
    tiles = [tile for part in values.values() if isinstance(part, list) for tile in part]
    items = [tile["item"] for tile in tiles if isinstance(tile, dict) and "item" in tile]
    items += values.get("items", [])
    return {"labels": desk.said(items, ""), "names": desk.names(items), **values}
