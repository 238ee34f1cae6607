"""The page of a stream that runs: routes translate, `Monitor` knows."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from narrowcast.stream.allowance import give_way
from narrowcast.video.palette import palette
from narrowcast.web.access import Access
from narrowcast.web.answers import json_ok
from narrowcast.web.application import application, page
from narrowcast.web.monitor import Monitor


def monitor_app(monitor: Monitor, access: Access) -> ASGIApp:
    """The page of `monitor`'s stream. It reads, and changes nothing."""
    drawing = ThreadPoolExecutor(1, thread_name_prefix="monitor", initializer=give_way)  # the student comes first

    async def show(request: Request) -> Response:
        colours = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette(len(monitor.classes)).tolist()]
        legend = list(zip(monitor.classes, colours, strict=True))[1:]
        return page("monitor", source=monitor.source, legend=legend)

    async def state(request: Request) -> Response:
        since, event = (_number(request, name) for name in ("since", "event"))
        return json_ok(**monitor.state(since=since, event=event))

    async def picture(request: Request) -> Response:
        view = request.query_params.get("view", "labels")
        jpeg = await asyncio.get_running_loop().run_in_executor(drawing, monitor.picture, view)
        if jpeg is None:
            raise HTTPException(404, "there is no picture yet")
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        drawing.shutdown(wait=False, cancel_futures=True)

    routes = [Route("/", show), Route("/state", state), Route("/picture", picture)]
    return application(routes, access, lifespan=lifespan)


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "-1")
    if len(text) > 15 or not text.removeprefix("-").isdecimal():
        raise HTTPException(400, f"{name}: expected a whole number")
    return int(text)
