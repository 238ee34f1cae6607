"""Talking to an application in process, as its own page would."""

from typing import Any

from starlette.testclient import TestClient
from starlette.types import ASGIApp

HOST = "127.0.0.1:8000"
ORIGIN = f"http://{HOST}"


def client(app: ASGIApp, **headers: str) -> TestClient:
    """A client that states Host and Origin as a browser on the application's own page does."""
    return TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN, **headers}, follow_redirects=False)


def refused(answer: Any, status: int) -> str:
    """The message of a refusal in the one shape that all have."""
    assert answer.status_code == status, answer.text
    values = answer.json()
    assert set(values) == {"ok", "error", "status"}
    assert (values["ok"], values["status"]) == (False, status)
    assert isinstance(values["error"], str)
    assert values["error"]
    return values["error"]
