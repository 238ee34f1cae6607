"""Routes of the start pages: all pools; one pool with its categories, and what a new category begins with."""

import asyncio
from typing import Any, final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from narrowcast.web.answers import json_ok, read_object
from narrowcast.web.application import page
from narrowcast.web.label_asked import Asked, room_of
from narrowcast.web.label_house import LabelHouse
from narrowcast.web.label_room import LabelRoom
from narrowcast.web.label_sheet import LEAST, MOST


@final
class StartRoutes:
    """What begins.

    Args:
        who: the name that the page shows until somebody gives another.
    """

    def __init__(self, house: LabelHouse, who: str) -> None:
        self._house, self._who = house, who

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self.pools),
            Route("/api/pools", self.get_pools),
            Route("/p/{pool}", self.start),
            Route("/api/p/{pool}", self.get_pool),
            Route("/api/p/{pool}/text", self.get_text),
            Route("/api/p/{pool}/sample", self.get_sample),
            Route("/api/examples/{pool}", self.post_example, methods=["POST"]),
            Route("/api/p/{pool}/categories", self.post_category, methods=["POST"]),
        ]

    async def pools(self, request: Request) -> Response:
        only = self._house.only
        return page("label_pools") if only is None else RedirectResponse(f"/p/{only}", 303)

    async def get_pools(self, request: Request) -> Response:
        cards = await run_in_threadpool(self._house.cards)
        return json_ok(pools=[card.to_json() for card in cards])

    async def start(self, request: Request) -> Response:
        room, identity = await room_of(self._house, request), request.path_params["pool"]
        has_more = self._house.only is None
        return page("label_start", pool=room.pool.path.name, pool_id=identity, has_more=has_more, who=self._who)

    async def get_pool(self, request: Request) -> Response:
        return json_ok(**await run_in_threadpool(_numbers, await room_of(self._house, request)))

    async def get_text(self, request: Request) -> Response:
        room = await room_of(self._house, request)
        return json_ok(has_text=await asyncio.wrap_future(room.worker.call(room.has_text)))

    async def get_sample(self, request: Request) -> Response:
        asked = Asked(dict(request.query_params))
        num, seed = asked.number("num", 40, LEAST, MOST), asked.number("seed", 0, 0, 2**31)
        room = await room_of(self._house, request)
        return json_ok(items=await run_in_threadpool(room.sample, num, seed))

    async def post_example(self, request: Request) -> Response:
        room, name = (
            await room_of(self._house, request),
            Asked(dict(request.query_params)).text("name", "photo", most=255),
        )
        content = await request.body()
        return json_ok(item=await run_in_threadpool(room.keep, content, name=name))

    async def post_category(self, request: Request) -> Response:
        room = await room_of(self._house, request)
        asked = Asked(await read_object(request), {"name", "items", "text", "who"})
        name, text, person = asked.text("name", most=200), asked.text("text", "", most=500), asked.who()
        items = asked.texts("items", most=500)
        desk = await run_in_threadpool(room.begin, name, items, text=text, who=person)
        return json_ok(category=desk.category)


def _numbers(room: LabelRoom) -> dict[str, Any]:
    return {
        "pool": room.pool.path.name,
        "photos": len(room.catalogue()),
        "features": room.inside.version,
        "categories": room.categories(),
    }
