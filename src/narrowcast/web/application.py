"""The application factory: routes, the package's static files and pages, behind the guard."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from narrowcast.core.errors import NarrowcastError
from narrowcast.web.access import Access
from narrowcast.web.answers import json_error, status_of
from narrowcast.web.guard import Guard

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def application(
    routes: Sequence[BaseRoute],
    access: Access,
    *,
    most_bytes: Mapping[str, int] | None = None,
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """An application of these routes that only its own pages can talk to; `/static/…` has the package's files.

    Args:
        most_bytes: size limits of bodies, by the beginning of the path; elsewhere `guard.MOST_BYTES`.
        lifespan: what runs as long as the application does.
    """
    static = Mount("/static", StaticFiles(packages=[("narrowcast.web", "static")]))
    handlers: dict[Any, Any] = {HTTPException: _http_error, NarrowcastError: _own_error, Exception: _own_mistake}
    inside = Starlette(routes=[*routes, static], exception_handlers=handlers, lifespan=lifespan)
    return Guard(inside, access, most_bytes=most_bytes or {})


def page(name: str, **values: Any) -> HTMLResponse:
    """The page of `templates/NAME.html`; every value is escaped."""
    return HTMLResponse(_template(name).render(**values), headers={"Cache-Control": "no-cache"})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_error(error.status_code, error.detail)


async def _own_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NarrowcastError)
    return json_error(status_of(error), str(error))


async def _own_mistake(request: Request, error: Exception) -> Response:
    return json_error(500, "an error of the program; its log has the details")  # the guard writes that log


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("narrowcast.web", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.html")
