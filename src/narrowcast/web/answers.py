"""What an application says, and how it reads what it is told: JSON in, JSON out, one shape for every error."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from narrowcast.core.errors import NarrowcastError, StorageError

DEEPEST = 32  # objects in objects; ours: no request of ours needs more than 4


class JsonAnswer(Response):
    """JSON that is never kept by a browser; NaN is refused, since no browser reads it."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store"})

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )


def json_ok(**values: Any) -> JsonAnswer:
    """An answer: `{"ok": true, …}`."""
    return JsonAnswer({"ok": True, **values})


def json_error(status: int, message: str) -> JsonAnswer:
    """A refusal: `{"ok": false, "error": …, "status": …}`."""
    return JsonAnswer({"ok": False, "error": " ".join(message.split()), "status": status}, status)


def status_of(error: NarrowcastError) -> int:
    """The HTTP status of an error of ours: 507 where nothing could be written, else the request was wrong."""
    return 507 if isinstance(error, StorageError) else 400


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object that is the body.

    Raises:
        HTTPException: 415 where the request does not say that it is JSON, which a plain form of another page cannot
            say; 400 where it is no object that every program can read.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "expected Content-Type: application/json")
    body = await request.body()
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates pass the parser and no database
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "expected a JSON object")
    if _depth(value) > DEEPEST:
        raise HTTPException(400, f"the JSON is nested more than {DEEPEST} deep")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, parts), default=0)
