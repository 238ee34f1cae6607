"""Routes of the start page: the pool and its categories, and what a new category begins with."""

import asyncio
from typing import Any, final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from narrowcast.web.answers import json_ok, read_object
from narrowcast.web.application import page
from narrowcast.web.label_asked import Asked
from narrowcast.web.label_room import LabelRoom
from narrowcast.web.label_sheet import LEAST, MOST


@final
class StartRoutes:
    """What begins.

    Args:
        who: the name that the page shows until somebody gives another.
    """

    def __init__(self, room: LabelRoom, who: str) -> None:
        self._room, self._who = room, who

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self.start),
            Route("/api/pool", self.get_pool),
            Route("/api/text", self.get_text),
            Route("/api/sample", self.get_sample),
            Route("/api/examples", self.post_example, methods=["POST"]),
            Route("/api/categories", self.post_category, methods=["POST"]),
        ]

    async def start(self, request: Request) -> Response:
        return page("label_start", pool=self._room.pool.path.name, who=self._who)

    async def get_pool(self, request: Request) -> Response:
        return json_ok(**await run_in_threadpool(self._pool))

    async def get_text(self, request: Request) -> Response:
        return json_ok(has_text=await asyncio.wrap_future(self._room.worker.call(self._room.has_text)))

    async def get_sample(self, request: Request) -> Response:
        asked = Asked(dict(request.query_params))
        num, seed = asked.number("num", 40, LEAST, MOST), asked.number("seed", 0, 0, 2**31)
        return json_ok(items=await run_in_threadpool(self._room.sample, num, seed))

    async def post_example(self, request: Request) -> Response:
        name = Asked(dict(request.query_params)).text("name", "photo", most=255)
        content = await request.body()
        return json_ok(item=await run_in_threadpool(self._room.keep, content, name=name))

    async def post_category(self, request: Request) -> Response:
        asked = Asked(await read_object(request), {"name", "items", "text", "who"})
        name, text, person = asked.text("name", most=200), asked.text("text", "", most=500), asked.who()
        items = asked.texts("items", most=500)
        desk = await run_in_threadpool(self._room.begin, name, items, text=text, who=person)
        return json_ok(category=desk.category)

    def _pool(self) -> dict[str, Any]:
        return {
            "pool": self._room.pool.path.name,
            "photos": len(self._room.catalogue()),
            "features": self._room.inside.version,
            "categories": self._room.categories(),
        }
