"""What `narrowcast mine label` does where it serves the page."""

import sys
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.core.errors import UsageError
from narrowcast.web.access import LOOPBACK, Access
from narrowcast.web.label_app import label_app
from narrowcast.web.label_room import LabelRoom
from narrowcast.web.serving import Address, serving

# An acknowledgement takes the interpreter from the thread that ranks about ten times; Python's 5 ms would add up
SWITCH_S = 0.0005


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRequest:
    """What was asked for on the command line."""

    pool: Path
    category: str = ""
    host: str = ""
    port: int = 0
    token: str = ""
    who: str = ""


def serve(request: PageRequest, *, opens: bool) -> None:
    """Serve the labelling page until a signal ends it."""
    access = Access(host=request.host or LOOPBACK, token=request.token)
    sys.setswitchinterval(SWITCH_S)
    room = LabelRoom.open(request.pool)
    try:
        if request.category:
            room.desk(request.category)  # is there such a category?
        app = label_app(room, access, who=request.who)
        with stop_on_signal("this label") as stop, serving(app, access, port=request.port) as address:
            url = _url(address, request.category)
            typer.echo(url)
            typer.echo("Ctrl-C ends; what the page shows without a dashed frame is on disk", err=True)
            if opens:
                webbrowser.open(url)
            while not stop.is_asked:
                time.sleep(0.1)
    finally:
        room.close()
    stop.exit()


def refuse(where: str, **options: Any) -> None:
    """Nothing, where none of these was given: an option without effect is a misunderstanding.

    Raises:
        UsageError: one was given.
    """
    given = [f"--{name}" for name, value in options.items() if value]
    if given:
        raise UsageError(f"{given[0]} has no effect {where}; remove it")


def _url(address: Address, category: str) -> str:
    start, _, query = address.url.partition("?")
    return (f"{start}c/{quote(category, safe='')}" if category else start) + (f"?{query}" if query else "")
