"""The labelling page's routes: they translate; the room and its desks decide."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from narrowcast.core.errors import UsageError
from narrowcast.mine.exchange import EXPORTS, exported
from narrowcast.mine.head import head_of, save_head
from narrowcast.mine.labels import LabelEvent
from narrowcast.mine.session import MiningSession
from narrowcast.web import label_views as views
from narrowcast.web.access import Access
from narrowcast.web.answers import json_ok, read_object
from narrowcast.web.application import application, page
from narrowcast.web.label_asked import Asked, event_of
from narrowcast.web.label_desk import Desk
from narrowcast.web.label_room import LabelRoom, NoCategory
from narrowcast.web.label_sheet import LEAST, MODES, MOST, Sheet
from narrowcast.web.photos import NoPhoto

Result = TypeVar("Result")
MOST_UPLOAD = 40 << 20  # bytes of a dropped photo
FOREVER = "private, max-age=31536000, immutable"  # a photo's address is its content
FILES = {"csv": ".csv", "coco": ".json", "fiftyone": ".json", "webdataset": ".tar"}  # folders are for the command line
MOST_EVENTS = 2000  # of one request


def label_app(room: LabelRoom, access: Access, *, who: str = "") -> ASGIApp:
    """The labelling page of a room.

    Args:
        who: the name that a page begins with, until somebody gives another.
    """

    async def start(request: Request) -> Response:
        return page("label_start", pool=room.pool.path.name, who=who)

    async def label(request: Request) -> Response:
        desk = await _desk(request)
        return page("label", pool=room.pool.path.name, who=who, category=desk.category)

    async def _desk(request: Request) -> Desk:
        try:
            return await run_in_threadpool(room.desk, request.path_params["category"])
        except NoCategory as error:
            raise HTTPException(404, str(error)) from None

    async def get_pool(request: Request) -> Response:
        def look() -> dict[str, Any]:
            return {
                "pool": room.pool.path.name,
                "photos": len(room.catalogue()),
                "features": room.pool.versions()[0],
                "categories": room.categories(),
            }

        return json_ok(**await run_in_threadpool(look))

    async def get_text(request: Request) -> Response:
        return json_ok(has_text=await asyncio.wrap_future(room.worker.call(room.has_text)))

    async def get_sample(request: Request) -> Response:
        asked = Asked(dict(request.query_params))
        num, seed = asked.number("num", 40, LEAST, MOST), asked.number("seed", 0, 0, 2**31)
        return json_ok(items=await run_in_threadpool(room.sample, num, seed))

    async def post_example(request: Request) -> Response:
        name = Asked(dict(request.query_params)).text("name", "photo", most=255)
        content = await request.body()
        return json_ok(item=await run_in_threadpool(room.keep, content, name=name))

    async def post_category(request: Request) -> Response:
        asked = Asked(await read_object(request), {"name", "items", "text", "who"})
        name, text, person = asked.text("name", most=200), asked.text("text", "", most=500), asked.who()
        items = asked.texts("items", most=500)
        desk = await run_in_threadpool(room.begin, name, items, text=text, who=person)
        return json_ok(category=desk.category)

    async def get_sheet(request: Request) -> Response:
        asked, desk = Asked(dict(request.query_params)), await _desk(request)
        return await _sheet(desk, lambda: desk.sheet(asked.who(), mode=_mode(asked), num=_num(asked)))

    async def post_next(request: Request) -> Response:
        desk = await _desk(request)
        asked = Asked(await read_object(request), {"who", "mode", "num", "sheet_id"})
        who, mode, num, sheet_id = asked.who(), _mode(asked), _num(asked), asked.text("sheet_id", "", most=64)
        return await _sheet(desk, lambda: desk.next(who, mode=mode, num=num, sheet_id=sheet_id))

    async def _sheet(desk: Desk, find: Callable[[], Sheet]) -> Response:
        def found() -> dict[str, Any]:
            sheet = find()
            items = sheet.items()
            labels = desk.said(items, sheet.who, sheet.mode)
            return {"sheet": sheet.to_json(), "labels": labels}

        return json_ok(**await run_in_threadpool(found))

    async def post_events(request: Request) -> Response:
        desk = await _desk(request)
        asked = Asked(await read_object(request), {"who", "events"})
        who, given = asked.who(), asked.objects("events", most=MOST_EVENTS)

        def write() -> dict[str, Any]:
            undone: list[LabelEvent] = []
            if len(given) == 1 and given[0].get("kind") == "undo" and "undoes" not in given[0]:
                undone = desk.undo(who, Asked(given[0], {"kind", "event_id"}).event_id())
            else:
                desk.record([event_of(values, desk, who) for values in given])
            items = [event.item for event in undone] or [v["item"] for v in given if "item" in v]
            return {
                "numbers": desk.quick(),
                "undone": [{"item": event.item, "value": event.value} for event in undone],
                "labels": desk.said(items, who),
            }

        return json_ok(**await run_in_threadpool(write))

    async def get_state(request: Request) -> Response:
        desk = await _desk(request)
        return json_ok(**await run_in_threadpool(desk.state, Asked(dict(request.query_params)).who()))

    def view(find: Callable[[Desk, Asked], dict[str, Any]]) -> Callable[..., Any]:
        async def answer(request: Request) -> Response:
            desk, asked = await _desk(request), Asked(dict(request.query_params))

            def found() -> dict[str, Any]:
                values = find(desk, asked)
                tiles = [tile for part in values.values() if isinstance(part, list) for tile in part]
                items = [tile["item"] for tile in tiles if isinstance(tile, dict) and "item" in tile]
                items += values.get("items", [])
                return {"labels": desk.said(items, ""), "names": desk.names(items), **values}

            return json_ok(**await run_in_threadpool(found))

        return answer

    async def post_audit(request: Request) -> Response:
        desk = await _desk(request)
        asked = Asked(await read_object(request), {"num", "seed"})
        num, seed = asked.number("num", 200, 1, 100_000), asked.number("seed", 0, 0, 2**31)
        await run_in_threadpool(views.audit, desk, num, seed=seed)
        return json_ok(num=num)

    async def get_export(request: Request) -> Response:
        desk, asked = await _desk(request), Asked(dict(request.query_params))
        kind = asked.one_of("format", [*FILES, "head"], "csv")
        num_top = asked.number("top", 0, 0, 1_000_000)
        content, name = await run_in_threadpool(_export, desk, kind, num_top)
        disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        return Response(
            content,
            media_type="application/octet-stream",
            headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
        )

    async def get_thumb(request: Request) -> Response:
        content = await _photo(room.photos.thumb, request)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": FOREVER})

    async def get_full(request: Request) -> Response:
        content, kind = await _photo(room.photos.full, request)
        return Response(content, media_type=kind, headers={"Cache-Control": FOREVER})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        room.worker.ahead("load", room.load)
        yield

    of = "/api/c/{category}"
    routes = [
        Route("/", start),
        Route("/c/{category}", label),
        Route("/c/{category}/export", get_export),
        Route("/photo/{item}/thumb", get_thumb),
        Route("/photo/{item}/full", get_full),
        Route("/api/pool", get_pool),
        Route("/api/text", get_text),
        Route("/api/sample", get_sample),
        Route("/api/examples", post_example, methods=["POST"]),
        Route("/api/categories", post_category, methods=["POST"]),
        Route(f"{of}/sheet", get_sheet),
        Route(f"{of}/next", post_next, methods=["POST"]),
        Route(f"{of}/events", post_events, methods=["POST"]),
        Route(f"{of}/state", get_state),
        Route(f"{of}/audit", post_audit, methods=["POST"]),
        Route(f"{of}/pseudo", view(lambda desk, asked: views.pseudo_negatives(desk))),
        Route(f"{of}/positives", view(lambda d, a: views.positives(d, first=a.number("first", 0, 0, 2**31)))),
        Route(f"{of}/disagreements", view(lambda desk, asked: views.disagreements(desk))),
        Route(f"{of}/history", view(lambda d, a: views.history(d, before=a.number("before", 0, 0, 2**53)))),
        Route(f"{of}/like", view(lambda d, a: views.more_like(d, a.text("item", most=32), _num(a)))),
        Route(f"{of}/map", view(lambda desk, asked: views.embedding_map(desk))),
    ]
    return application(routes, access, most_bytes={"/api/examples": MOST_UPLOAD}, lifespan=lifespan)


def _mode(asked: Asked) -> str:
    return asked.one_of("mode", MODES, "mixed")


def _num(asked: Asked) -> int:
    return asked.number("num", 24, LEAST, MOST)


async def _photo(find: Callable[[str], Result], request: Request) -> Result:
    try:
        return await run_in_threadpool(find, request.path_params["item"])
    except NoPhoto as error:
        raise HTTPException(404, str(error)) from None


def _export(desk: Desk, kind: str, num_top: int) -> tuple[bytes, str]:
    """The file and its name."""

    def write(session: MiningSession, out: Path) -> None:
        if kind != "head":
            EXPORTS[kind](exported(session, num_top=num_top), out, desk.category)
            return
        miner = session.miner
        if not miner.has_model or miner.model is None:
            raise UsageError(f"'{desk.category}' has no negatives yet, so there is no classifier; label some photos")
        save_head(head_of(miner.model, session.pool.store().note, desk.category), out)

    name = f"{desk.category}{FILES.get(kind, '.safetensors')}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"export{FILES.get(kind, '.safetensors')}"
        desk.call(lambda session: write(session, out))
        return out.read_bytes(), name
