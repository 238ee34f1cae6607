"""The labelling page as an application: routes translate; the room and its desks decide."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp

from narrowcast.web.access import Access
from narrowcast.web.application import application
from narrowcast.web.label_room import LabelRoom
from narrowcast.web.label_routes_desk import DeskRoutes
from narrowcast.web.label_routes_files import FileRoutes
from narrowcast.web.label_routes_start import StartRoutes

MOST_UPLOAD = 40 << 20  # bytes of a dropped photo


def label_app(room: LabelRoom, access: Access, *, who: str = "") -> ASGIApp:
    """The labelling page of a room.

    Args:
        who: the name that a page begins with, until somebody gives another.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        room.worker.ahead("load", room.load)
        yield

    routes = [*StartRoutes(room, who).routes(), *DeskRoutes(room, who).routes(), *FileRoutes(room).routes()]
    return application(routes, access, most_bytes={"/api/examples": MOST_UPLOAD}, lifespan=lifespan)
