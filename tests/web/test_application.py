"""Every application: closed to other pages, one shape for errors, limits, headers, static files."""

import json
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.web.access import Access
from narrowcast.web.answers import json_ok, read_object
from narrowcast.web.application import application

from .clients import HOST, ORIGIN, client, refused

TOKEN = "a-long-enough-token"


async def echo(request: Request) -> Response:
    return json_ok(said=await read_object(request))


async def fail(request: Request) -> Response:
    errors = {"usage": UsageError("no such\nthing"), "disk": StorageError("disk full"), "bug": KeyError("secret")}
    raise errors[request.path_params["kind"]]


async def stream(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    return StreamingResponse(pieces())


def app(access: Access | None = None):
    routes = [Route("/echo", echo, methods=["POST"]), Route("/fail/{kind}", fail), Route("/stream", stream)]
    big = Route("/big/echo", echo, methods=["POST"])
    return application([*routes, big], access or Access(), most_bytes={"/big/": 1 << 21})


@pytest.fixture
def own() -> TestClient:
    return client(app())


def test_its_own_page_is_answered(own: TestClient) -> None:
    answer = own.post("/echo", json={"a": "ü"})
    assert answer.json() == {"ok": True, "said": {"a": "ü"}}
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:81"},
    ],
)
def test_other_pages_cannot_write(own: TestClient, headers: dict[str, str]) -> None:
    refused(own.post("/echo", json={}, headers=headers), 403)


def test_a_write_without_origin_is_refused() -> None:
    refused(TestClient(app(), base_url=ORIGIN).post("/echo", json={}), 403)


def test_other_names_cannot_read(own: TestClient) -> None:
    refused(own.get("/stream", headers={"Host": "evil.example"}), 403)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        pytest.param(b"{}", "text/plain", 415, id="what a plain form can say"),
        pytest.param(b"{", "application/json", 400, id="cut off"),
        pytest.param(b"[]", "application/json", 400, id="no object"),
        pytest.param(b'{"a": NaN}', "application/json", 400, id="not a number"),
        pytest.param(b'{"a": "\\ud800"}', "application/json", 400, id="half a letter"),
        pytest.param(b"\xff\xfe\x00", "application/json", 400, id="no text"),
        pytest.param(b'{"a":' * 40 + b"1" + b"}" * 40, "application/json", 400, id="too deep"),
        pytest.param(b'{"a":' + b"[" * 100_000, "application/json", 400, id="far too deep"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", "application/json", 400, id="a huge number"),
        pytest.param(b'{"a": "' + b"x" * (1 << 20) + b'"}', "application/json", 413, id="too long"),
    ],
)
def test_bodies_that_are_no_json_object_are_refused(own: TestClient, content: bytes, kind: str, status: int) -> None:
    refused(own.post("/echo", content=content, headers={"Content-Type": kind}), status)


def test_limits_hold_for_bodies_that_come_in_pieces(own: TestClient) -> None:
    def pieces():
        yield b'{"a": "'
        for _ in range(20):
            yield b"x" * 65536
        yield b'"}'

    refused(own.post("/echo", content=pieces(), headers={"Content-Type": "application/json"}), 413)
    assert own.post("/big/echo", content=pieces(), headers={"Content-Type": "application/json"}).json()["ok"]


@pytest.mark.parametrize("size", ["-1", "1e3", "9" * 400, "x"])
def test_a_length_that_is_none_is_refused(own: TestClient, size: str) -> None:
    refused(own.post("/echo", content=b"{}", headers={"Content-Length": size}), 413)


def test_every_error_has_the_one_shape(own: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    assert refused(own.get("/fail/usage"), 400) == "no such thing"
    assert refused(own.get("/fail/disk"), 507) == "disk full"
    assert "secret" not in refused(own.get("/fail/bug"), 500)
    assert "secret" in caplog.text
    refused(own.get("/nowhere"), 404)
    refused(own.delete("/echo"), 405)


def test_scripts_come_from_files_of_the_package_alone(own: TestClient) -> None:
    headers = own.get("/stream").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_static_files_are_those_of_the_package(own: TestClient) -> None:
    assert "javascript" in own.get("/static/common.js").headers["Content-Type"]
    for path in (
        "../access.py",
        "..%2faccess.py",
        "%2e%2e/access.py",
        "/etc/passwd",
        "..\\access.py",
        "%00",
        "a" * 5000,
    ):
        refused(own.get(f"/static/{path}"), 404)


def test_streams_pass(own: TestClient) -> None:
    assert own.get("/stream").text == "one two"


def test_without_the_token_nothing_is_shown() -> None:
    closed = client(app(Access(token=TOKEN)))
    refused(closed.get("/stream"), 401)
    refused(closed.get("/static/common.js"), 401)
    refused(closed.get("/stream?token=wrong"), 401)
    refused(closed.post(f"/echo?token={TOKEN}", json={}), 401)
    assert closed.get("/stream", headers={"Authorization": f"Bearer {TOKEN}"}).text == "one two"


def test_the_token_in_an_address_becomes_a_cookie() -> None:
    closed = client(app(Access(token=TOKEN)))
    entry = closed.get(f"/stream?a=1&token={TOKEN}")
    assert (entry.status_code, entry.headers["Location"]) == (303, "/stream?a=1")
    cookie = entry.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert closed.get("/stream").text == "one two"
    assert closed.post("/echo", json={}).json()["ok"]


def test_an_entry_never_leads_to_another_host() -> None:
    closed = client(app(Access(token=TOKEN)))
    assert closed.get(f"{ORIGIN}//evil.example/?token={TOKEN}").headers["Location"] == "/evil.example/"


def test_answers_are_json_that_browsers_read(own: TestClient) -> None:
    assert json.loads(own.post("/echo", json={"x": HOST}).content)["said"] == {"x": HOST}
