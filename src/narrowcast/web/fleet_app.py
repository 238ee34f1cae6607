"""The page of a fleet: where every camera stands, read from the fleet's folder; it changes nothing."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from narrowcast.fleet.state import CAMERAS, EVENTS, read_state
from narrowcast.web.access import Access
from narrowcast.web.answers import json_ok
from narrowcast.web.application import application, page

REPORT = "report.html"
NEWEST = 50  # events on the page
TAIL_BYTES = 1 << 16


def fleet_app(out: Path, access: Access) -> ASGIApp:
    """The page of the fleet in the folder `out`."""

    async def start(request: Request) -> Response:
        return page("fleet", fleet=out.name)

    async def get_fleet(request: Request) -> Response:
        return json_ok(**await run_in_threadpool(_state, out))

    async def get_report(request: Request) -> Response:
        name = request.path_params["name"]
        known = {camera.name for camera in (await run_in_threadpool(read_state, out)).cameras}
        path = out / CAMERAS / name / REPORT
        if name not in known or not path.exists():
            raise HTTPException(404, f"no report of a camera '{name}' yet; it is written when a run ends")
        # a download: the report brings its own styles, which the policy of pages refuses
        return FileResponse(path, filename=f"{name}.html", media_type="text/html")

    routes = [Route("/", start), Route("/api/fleet", get_fleet), Route("/reports/{name}", get_report)]
    return application(routes, access)


def _state(out: Path) -> dict[str, Any]:
    report = read_state(out)
    cameras = [
        asdict(camera) | {"has_report": (out / CAMERAS / camera.name / REPORT).exists()} for camera in report.cameras
    ]
    return {
        "age_s": round(max(0.0, time.time() - report.time), 1),
        "has_ended": report.has_ended,
        "cameras": cameras,
        "events": newest_events(out),
    }


def newest_events(out: Path, num: int = NEWEST) -> list[dict[str, Any]]:
    """The newest lines of `events.jsonl`, the newest first."""
    path = out / EVENTS
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.readlines()
    events = []
    for line in reversed(lines):
        try:
            events.append(json.loads(line))
        except ValueError:
            continue  # cut off, at either end
    return events[:num]
