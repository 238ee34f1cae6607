"""Whatever is sent to the labelling page: it is refused in the one shape, and nothing is written."""

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from narrowcast.web.access import Access
from narrowcast.web.label_app import label_app
from narrowcast.web.label_house import LabelHouse, pool_id
from narrowcast.web.label_room import LabelRoom

from .clients import ORIGIN, client, refused
from .conftest import reds

WRITES = [
    ("/api/categories", {"name": "new", "items": []}),
    ("/api/c/owl/events", {"events": [{"event_id": "attacker-1", "item": "0" * 32, "value": "positive"}]}),
    ("/api/c/owl/next", {"num": 8}),
    ("/api/c/owl/audit", {"num": 8}),
]


@pytest.fixture
def owl(page: TestClient, room: LabelRoom) -> TestClient:
    page.post("/api/categories", json={"name": "owl", "items": reds(room, 2)})
    return page


def num_events(room: LabelRoom) -> int:
    with sqlite3.connect(room.pool.path / "labels.sqlite") as log:
        return log.execute("SELECT count(*) FROM events").fetchone()[0]


def files(room: LabelRoom) -> set[str]:
    """What is in the pool's folder and beside it, apart from the log and the cache."""
    found = [path.relative_to(room.pool.path.parent) for path in room.pool.path.parent.rglob("*")]
    return {str(path) for path in found if "cache" not in path.parts and not path.name.startswith("labels.sqlite")}


def test_other_pages_write_nothing(owl: TestClient, room: LabelRoom) -> None:
    before = num_events(room), files(room)
    wrong = [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),  # a sandboxed frame
        ({"Host": "evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),  # what a form can send
    ]
    for path, values in WRITES:
        for headers, status in wrong:
            sent = {"Content-Type": "application/json"} | headers
            refused(owl.post(path, content=json.dumps(values), headers=sent), status)
    assert (num_events(room), files(room)) == before


def test_without_the_token_nothing_is_seen_or_written(house: LabelHouse, room: LabelRoom) -> None:
    app = label_app(house, Access(host="0.0.0.0", token="a-long-enough-token"))
    with client(app, pool=pool_id(room.pool.path)) as closed:
        for path, values in WRITES:
            refused(closed.post(path, json=values), 401)
        for path in (
            "/",
            "/c/owl",
            "/api/pool",
            "/api/pools",
            "/api/c/owl/state",
            f"/photo/{reds(room, 1)[0]}/full",
            "/static/label.js",
        ):
            refused(closed.get(path), 401)
    assert num_events(room) == 0


def test_no_path_reaches_the_file_system(page: TestClient, room: LabelRoom) -> None:
    (room.pool.path / "examples").mkdir(exist_ok=True)
    odd = ["../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e", "....//", "C:\\x", "%00", "A" * 32, "0" * 31]
    odd += ["0" * 5000, "labels.sqlite", "..%5c..%5cpool.json", "0" * 32 + "%0a", "%c0%ae%c0%ae"]
    for item in odd:
        for kind in ("thumb", "full"):
            refused(page.get(f"/photo/{item}/{kind}"), 404)


def test_names_that_are_paths_begin_nothing(page: TestClient, room: LabelRoom) -> None:
    before = files(room)
    odd = ["../up", "a/b", "..", ".", ".hidden", "a\\b", "a:b", " a", "a\n", "", "x" * 300, "\x00", "a\u202eb"]
    for name in odd:
        refused(page.post("/api/categories", json={"name": name, "items": []}), 400)
    assert files(room) == before
    assert num_events(room) == 0


def test_events_that_are_none_are_refused_whole(owl: TestClient, room: LabelRoom) -> None:
    good = {"event_id": "good-one", "item": reds(room)[4], "value": "positive"}
    before = num_events(room)
    known, unknown = {"event_id": "12345678", "value": "positive"}, "f" * 32
    wrong: list[dict[str, Any]] = [
        {"item": unknown, "value": "positive"},  # no event_id
        known | {"event_id": "x", "item": unknown},
        known | {"item": unknown},  # no such photo
        known | {"item": "../../etc/passwd"},
        known | {"item": None},
        known | {"item": ["a"]},
        known | {"item": unknown, "value": "yes"},
        known | {"item": unknown, "who": "somebody else"},
        {"event_id": "12345678", "kind": "category"},
        {"event_id": "12345678", "kind": "undo", "undoes": "nothing"},
    ]
    for event in wrong:
        refused(owl.post("/api/c/owl/events", json={"events": [good, event]}), 400)
    assert num_events(room) == before


def test_photos_from_outside_are_limited_and_looked_at(page: TestClient, room: LabelRoom) -> None:
    refused(page.post("/api/examples", content=b"x" * (41 << 20)), 413)
    bomb = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\x00\x00\x00" + b"\x00" * 64
    for content in (
        b"",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        bomb,
        b"\xff\xd8\xff" + b"\x00" * 999,
    ):
        refused(page.post("/api/examples", content=content), 400)
    assert not any("examples" in name for name in files(room))


def _mutated(rng: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """A request that is nearly right: method, path, body, headers."""
    path, values = rng.choice(WRITES)
    path = rng.choice([path, path, path.replace("owl", rng.choice(["owl", "o%77l", "../owl", "\u202e", "owl%00"]))])
    text = json.dumps(_twisted(values, rng))
    if rng.random() < 0.3:
        place = rng.randrange(len(text))
        text = (
            text[:place]
            + rng.choice(["\x00", '"', "{", "}", "[", "\\u0000", "1e999", "NaN", "é", "\\ud800"])
            + text[place:]
        )
    body = text.encode()
    if rng.random() < 0.2:
        body = bytes(b ^ (rng.random() < 0.02) * rng.randrange(256) for b in body)
    headers = {"Content-Type": rng.choice(["application/json"] * 9 + ["text/html"])}
    return rng.choice(["POST"] * 8 + ["PUT", "DELETE"]), path, body, headers


def _twisted(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        twisted = {rng.choice([k] * 20 + ["__proto__", ""]): _twisted(v, rng) for k, v in value.items()}
        return twisted | ({"more": 1} if rng.random() < 0.05 else {})
    if isinstance(value, list):
        return [_twisted(v, rng) for v in value] * rng.choice([1, 1, 1, 0, 2])
    odd = [
        None,
        True,
        -1,
        2**70,
        1.5,
        "",
        "x" * 3000,
        [],
        {},
        [[[]]],
        "\u0000",
        "👻",
        "<script>",
        "' OR 1=1 --",
        "../..",
    ]
    return rng.choice(odd) if rng.random() < 0.25 else value


def fuzz(owl: TestClient, room: LabelRoom, num: int) -> None:
    rng, before = random.Random(0), files(room)
    began = num_events(room)
    made = 0
    for _ in range(num):
        method, path, body, headers = _mutated(rng)
        answer = owl.request(method, path, content=body, headers=headers)
        if answer.status_code == 200:
            made += path == "/api/categories"
        else:
            refused(answer, answer.status_code)
            assert answer.status_code in (400, 403, 404, 405, 413, 415), answer.text
    assert num_events(room) == began + made  # the only thing that these requests may do well is begin a category
    assert {name for name in files(room) - before if "audits" not in name} == set()
    assert owl.get("/api/c/owl/state").json()["positive"] == 2
    assert owl.get(ORIGIN + f"/p/{pool_id(room.pool.path)}").status_code == 200


def test_fuzzed_requests_are_refused_and_write_nothing(owl: TestClient, room: LabelRoom) -> None:
    fuzz(owl, room, 150)


@pytest.mark.slow
def test_ten_thousand_fuzzed_requests(owl: TestClient, room: LabelRoom) -> None:
    fuzz(owl, room, 10_000)


def test_a_full_disk_is_told_and_the_label_not_acknowledged(owl: TestClient, room: LabelRoom, tmp_path: Path) -> None:
    """The log is taken away: what cannot be written must not look as if it had been."""
    room.log.close()
    answer = owl.post(
        "/api/c/owl/events", json={"events": [{"event_id": "disk-full", "item": reds(room)[3], "value": "negative"}]}
    )
    assert answer.status_code in (500, 507)
    refused(answer, answer.status_code)
