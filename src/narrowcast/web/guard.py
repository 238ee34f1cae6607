"""What stands before every route: Host, Origin, token, body size; and behind it: headers, errors in one shape."""

import logging
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from narrowcast.core.errors import NarrowcastError
from narrowcast.web.access import READS, Access
from narrowcast.web.answers import json_error, status_of

log = logging.getLogger(__name__)
MOST_BYTES = 1 << 20  # of a body; a route that takes photos says otherwise
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@final
class Guard:
    """The application inside, closed to all but its own pages.

    Args:
        most_bytes: of a body, by the beginning of the path; the longest beginning counts, `MOST_BYTES` without one.
    """

    def __init__(self, inside: ASGIApp, access: Access, *, most_bytes: Mapping[str, int]) -> None:
        self._inside, self._access, self._most_bytes = inside, access, dict(most_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inside(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # websockets: nothing here speaks them
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
            if self._is_entry(scope):
                await self._enter(scope)(scope, receive, send_with_headers)
                return
            await self._inside(scope, self._limited(scope, receive), send_with_headers)
        except Exception as error:  # the last place before the server: everything becomes an answer
            status, message = _refusal(error)
            if status == 500:
                log.exception("%s %s", scope["method"], scope["path"])
            if not has_begun:
                await json_error(status, message)(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._access.allows_host(host):
            raise HTTPException(403, f"Host '{host[:80]}': not a name of this application")
        if scope["method"] not in READS and not self._access.allows_write(host=host, origin=headers.get("origin", "")):
            raise HTTPException(403, "a write must come from a page of this application (Origin)")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = [bearer.strip()] if scheme.lower() == "bearer" else []
        shown += [_cookie(headers, self._access.cookie)]
        if scope["method"] == "GET":
            shown += _query_tokens(scope)
        if not self._access.allows_token(*shown):
            raise HTTPException(
                401, "needs the token: open the address that was printed, or send Authorization: Bearer"
            )
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size[:20]) > self._limit(scope["path"]):
            raise HTTPException(413, f"the body is larger than {self._limit(scope['path'])} bytes")

    def _is_entry(self, scope: Scope) -> bool:
        return bool(self._access.token and scope["method"] == "GET" and _query_tokens(scope))

    def _enter(self, scope: Scope) -> RedirectResponse:
        """To the same address without the token, which becomes a cookie: addresses are shown and shared."""
        query = [(name, value) for name, value in _query(scope) if name != "token"]
        path = "/" + scope["path"].lstrip("/")  # two slashes would lead to another host
        answer = RedirectResponse(path + ("?" + urlencode(query) if query else ""), 303)
        answer.set_cookie(self._access.cookie, self._access.token, httponly=True, samesite="strict", path="/")
        return answer

    def _limit(self, path: str) -> int:
        fitting = [begin for begin in self._most_bytes if path.startswith(begin)]
        return self._most_bytes[max(fitting, key=len)] if fitting else MOST_BYTES

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, counting: a body that comes in pieces states no length."""
        most, seen = self._limit(scope["path"]), 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most:
                    raise HTTPException(413, f"the body is larger than {most} bytes")
            return message

        return counted


def _refusal(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, error.detail
    if isinstance(error, NarrowcastError):
        return status_of(error), str(error)
    return 500, "an error of the program; its log has the details"


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _query_tokens(scope: Scope) -> list[str]:
    return [value for name, value in _query(scope) if name == "token"]
