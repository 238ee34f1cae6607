"""What `narrowcast mine label` does where it serves the page."""

import sys
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.core.errors import UsageError
from narrowcast.web.access import LOOPBACK, Access
from narrowcast.web.label_app import label_app
from narrowcast.web.label_house import LabelHouse
from narrowcast.web.serving import Address, serving

# An acknowledgement takes the interpreter from the thread that ranks about ten times; Python's 5 ms would add up
SWITCH_S = 0.0005


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRequest:
    """What was asked for on the command line."""

    pools: Sequence[Path] = ()
    within: Path | None = None
    category: str = ""
    host: str = ""
    port: int = 0
    token: str = ""
    who: str = ""


def serve(request: PageRequest, *, opens: bool) -> None:
    """Serve the labelling page until a signal ends it."""
    access = Access(host=request.host or LOOPBACK, token=request.token)
    sys.setswitchinterval(SWITCH_S)
    if not request.pools and request.within is None:
        raise UsageError("needs --pool DIR, once for each pool, or --pools FOLDER for all that are in it")
    house = LabelHouse.open(request.pools, within=request.within)
    try:
        place = ""
        if request.category:  # is there such a category?
            place = f"p/{house.with_category(request.category)}/c/{quote(request.category, safe='')}"
        app = label_app(house, access, who=request.who)
        with stop_on_signal("this label") as stop, serving(app, access, port=request.port) as address:
            url = _url(address, place)
            typer.echo(url)
            typer.echo("Ctrl-C ends; what the page shows without a dashed frame is on disk", err=True)
            if opens:
                webbrowser.open(url)
            while not stop.is_asked:
                time.sleep(0.1)
    finally:
        house.close()
    stop.exit()


def refuse(where: str, **options: Any) -> None:
    """Nothing, where none of these was given: an option without effect is a misunderstanding.

    Raises:
        UsageError: one was given.
    """
    given = [f"--{name}" for name, value in options.items() if value]
    if given:
        raise UsageError(f"{given[0]} has no effect {where}; remove it")


def one_of(pools: Sequence[Path], within: Path | None) -> Path:
    """The pool of a command that works with one.

    Raises:
        UsageError: there is none, or several.
    """
    refuse("for labels from the shell", pools=within)
    if len(pools) != 1:
        raise UsageError(f"labels from the shell are for one pool: expected one --pool, not {len(pools)}")
    return pools[0]


def _url(address: Address, place: str) -> str:
    start, _, query = address.url.partition("?")
    return start + place + (f"?{query}" if query else "")
