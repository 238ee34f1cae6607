"""Talking to an application in process, as its own page would."""

from typing import Any

from starlette.testclient import TestClient
from starlette.types import ASGIApp

HOST = "127.0.0.1:8000"
ORIGIN = f"http://{HOST}"


def client(app: ASGIApp, *, pool: str = "", **headers: str) -> TestClient:
    """A client that states Host and Origin as a browser on the application's own page does.

    Args:
        pool: ask for its addresses: "/api/c/…" and the like are said without it in tests.
    """
    return _Client(app, base_url=ORIGIN, headers={"Origin": ORIGIN, **headers}, follow_redirects=False, pool=pool)


class _Client(TestClient):
    def __init__(self, *words: Any, pool: str, **options: Any) -> None:
        super().__init__(*words, **options)
        self._pool = pool

    def request(self, method: str, url: Any, **options: Any) -> Any:
        return super().request(method, within(self._pool, url) if self._pool else url, **options)


def within(pool: str, path: str) -> str:
    """The address in that pool: "/api/c/owl/state" is "/api/p/POOL/c/owl/state"."""
    if path.startswith("/api/examples"):
        return path.replace("/api/examples", f"/api/examples/{pool}", 1)
    if path == "/api/pool":
        return f"/api/p/{pool}"
    if path.startswith(("/api/c/", "/api/text", "/api/sample", "/api/categories")):
        return path.replace("/api/", f"/api/p/{pool}/", 1)
    return f"/p/{pool}{path}" if path.startswith(("/c/", "/photo/")) else path


def refused(answer: Any, status: int) -> str:
    """The message of a refusal in the one shape that all have."""
    assert answer.status_code == status, answer.text
    values = answer.json()
    assert set(values) == {"ok", "error", "status"}
    assert (values["ok"], values["status"]) == (False, status)
    assert isinstance(values["error"], str)
    assert values["error"]
    return values["error"]
