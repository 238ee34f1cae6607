"""Routes of what is no JSON: photos by identity, and exports."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from narrowcast.core.errors import UsageError
from narrowcast.mine.exchange import EXPORTS, exported
from narrowcast.mine.head import head_of, save_head
from narrowcast.mine.session import MiningSession
from narrowcast.web.label_asked import Asked, desk_of, room_of
from narrowcast.web.label_desk import Desk
from narrowcast.web.label_house import LabelHouse
from narrowcast.web.photos import NoPhoto

Result = TypeVar("Result")
FOREVER = "private, max-age=31536000, immutable"  # a photo's address is its content
FILES = {"csv": ".csv", "coco": ".json", "fiftyone": ".json", "webdataset": ".tar"}  # folders are for the command line


@final
class FileRoutes:
    """What browsers show or save."""

    def __init__(self, house: LabelHouse) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/p/{pool}/photo/{item}/thumb", self.get_thumb),
            Route("/p/{pool}/photo/{item}/full", self.get_full),
            Route("/p/{pool}/c/{category}/export", self.get_export),
        ]

    async def get_thumb(self, request: Request) -> Response:
        content = await _photo((await room_of(self._house, request)).photos.thumb, request)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": FOREVER})

    async def get_full(self, request: Request) -> Response:
        content, kind = await _photo((await room_of(self._house, request)).photos.full, request)
        return Response(content, media_type=kind, headers={"Cache-Control": FOREVER})

    async def get_export(self, request: Request) -> Response:
        desk, asked = await desk_of(self._house, request), Asked(dict(request.query_params))
        kind = asked.one_of("format", [*FILES, "head"], "csv")
        num_top = asked.number("top", 0, 0, 1_000_000)
        content, name = await run_in_threadpool(_export, desk, kind, num_top)
        disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
        return Response(content, media_type="application/octet-stream", headers=headers)


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
        save_head(head_of(miner.model, session.pool.store(session.version).note, desk.category), out)

    name = f"{desk.category}{FILES.get(kind, '.safetensors')}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"export{FILES.get(kind, '.safetensors')}"
        desk.call(lambda session: write(session, out))
        return out.read_bytes(), name
