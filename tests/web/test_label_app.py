"""The labelling page's routes: from a new category to an export, and whatever may go wrong between."""

import csv
import io
import time
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from narrowcast.mine.pool import Pool
from narrowcast.models.callable_backbone import CallableBackbone
from narrowcast.web.access import Access
from narrowcast.web.label_app import label_app
from narrowcast.web.label_house import LabelHouse, pool_id
from narrowcast.web.label_room import LabelRoom

from .clients import client, refused
from .conftest import reds

OWL = "/api/c/owl"


def begin(page: TestClient, items: list[str], name: str = "owl") -> None:
    assert page.post("/api/categories", json={"name": name, "items": items, "who": "me"}).json()["ok"]


def sheet(page: TestClient, who: str = "me", **options: Any) -> dict[str, Any]:
    answer = page.get(f"{OWL}/sheet", params={"who": who, "num": 8, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()


def event(item: str, value: str, event_id: str, **more: str) -> dict[str, str]:
    return {"event_id": event_id.ljust(8, "0"), "item": item, "value": value, **more}


def say(page: TestClient, *events: dict[str, str], who: str = "me") -> dict[str, Any]:
    answer = page.post(f"{OWL}/events", json={"who": who, "events": list(events)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def following(page: TestClient, sheet_id: str, who: str = "me", **options: Any) -> dict[str, Any]:
    return page.post(f"{OWL}/next", json={"who": who, "num": 8, "sheet_id": sheet_id, **options}).json()


def test_from_two_examples_to_all_of_them(page: TestClient, room: LabelRoom) -> None:
    wanted = set(reds(room))
    begin(page, reds(room, 2))
    found = sheet(page)["sheet"]
    assert {tile["reason"] for tile in found["tiles"]} <= {"likely", "boundary", "explore"}
    for number in range(3):
        for ix, tile in enumerate(found["tiles"]):
            events = [
                event(item, "positive" if item in wanted else "negative", f"key-{number}-{ix}-.{n}")
                for n, item in enumerate([tile["item"], *tile["others"]])
            ]
            say(page, *events)
        found = following(page, found["sheet_id"])["sheet"]
    numbers = page.get(f"{OWL}/state", params={"who": "me"}).json()
    assert numbers["positive"] == len(wanted)  # 24 of 38 others asked: by chance 6 of 6 with p < 0.05
    assert numbers["curve"][-1][1] == len(wanted) - 2  # what it began with is no find
    assert page.get("/api/pool").json()["categories"][0]["positive"] == len(wanted)


def test_the_same_label_twice_counts_once(page: TestClient, room: LabelRoom) -> None:
    begin(page, reds(room, 1))
    tile = sheet(page)["sheet"]["tiles"][0]
    for _ in range(3):
        reply = say(page, event(tile["item"], "negative", "same"))
        assert reply["numbers"]["negative"] == 1
    other = page.post(f"{OWL}/events", json={"events": [event(tile["item"], "positive", "same")]})
    assert "known with other content" in refused(other, 400)


def test_undo_goes_back_action_by_action_and_once_a_request(page: TestClient, room: LabelRoom) -> None:
    begin(page, reds(room, 1))
    items = [tile["item"] for tile in sheet(page)["sheet"]["tiles"]]
    say(page, event(items[0], "positive", "first-one"))
    say(
        page,
        event(items[1], "negative", "second.0") | {"event_id": "second-1.0"},
        event(items[2], "negative", "x") | {"event_id": "second-1.1"},
    )
    undo = {"event_id": "undo-0001", "kind": "undo"}
    for _ in range(2):  # sent twice
        undone = say(page, undo)["undone"]
        assert {one["item"] for one in undone} == {items[1], items[2]}
    assert say(page, {"event_id": "undo-0002", "kind": "undo"})["undone"][0]["item"] == items[0]
    numbers = say(page, {"event_id": "undo-0003", "kind": "undo"})["numbers"]  # what it began with
    assert (numbers["positive"], numbers["negative"]) == (0, 0)
    assert say(page, {"event_id": "undo-0004", "kind": "undo"})["undone"] == []


def test_any_event_of_the_history_can_be_undone_and_the_undo_too(page: TestClient, room: LabelRoom) -> None:
    begin(page, reds(room, 1))
    items = [tile["item"] for tile in sheet(page)["sheet"]["tiles"]]
    say(page, event(items[0], "positive", "early"))
    say(page, event(items[1], "negative", "late"))
    assert say(page, {"event_id": "undo-early", "kind": "undo", "undoes": "early000"})["numbers"]["positive"] == 1
    assert say(page, {"event_id": "undo-undo0", "kind": "undo", "undoes": "undo-early"})["numbers"]["positive"] == 2
    events = page.get(f"{OWL}/history").json()["events"]
    assert [(one["kind"], one["counts"]) for one in events[:4]] == [
        ("undo", True),
        ("undo", False),
        ("label", True),
        ("label", True),
    ]
    category = events[-1]["event_id"]
    bad = {"events": [{"event_id": "undo-begin", "kind": "undo", "undoes": category}]}
    refused(page.post(f"{OWL}/events", json=bad), 400)


def test_a_page_is_turned_once_by_two_requests_and_kept_over_a_restart(
    page: TestClient, room: LabelRoom, backbone: Any
) -> None:
    begin(page, reds(room, 1))
    first = sheet(page)["sheet"]
    second = following(page, first["sheet_id"])["sheet"]
    assert following(page, first["sheet_id"])["sheet"] == second
    assert not {t["item"] for t in first["tiles"]} & {t["item"] for t in second["tiles"]}
    again = LabelRoom.open(room.pool.path, backbone=backbone)
    assert again.desk("owl").sheet("me", mode="mixed", num=8).to_json() == second | {
        "tiles": tuple({**tile, "others": tuple(tile["others"])} for tile in second["tiles"])
    }
    again.close()


def test_no_photo_is_asked_of_two_people_at_once_unless_wanted(page: TestClient, room: LabelRoom) -> None:
    begin(page, reds(room, 1))
    mine, yours = (sheet(page, who)["sheet"] for who in ("me", "you"))
    assert not {t["item"] for t in mine["tiles"]} & {t["item"] for t in yours["tiles"]}
    for ix, tile in enumerate(mine["tiles"]):
        say(page, event(tile["item"], "negative", f"mine-000{ix}"))
    seconds = following(page, yours["sheet_id"], "you", mode="second")["sheet"]
    assert {t["item"] for t in seconds["tiles"]} <= {t["item"] for t in mine["tiles"]} | set(reds(room, 1))
    flipped = {"positive": "negative", "negative": "positive"}
    for ix, tile in enumerate(seconds["tiles"][:4]):
        said = "positive" if tile["item"] in reds(room, 1) else "negative"
        say(page, event(tile["item"], said if ix else flipped[said], f"your-000{ix}"), who="you")
    agreement = page.get(f"{OWL}/state", params={"who": "me"}).json()["agreement"]
    assert (agreement["num"], agreement["share"]) == (4, 0.75)
    assert page.get(f"{OWL}/disagreements").json()["people"]


def test_a_category_can_begin_with_nothing_but_clicks(page: TestClient, room: LabelRoom) -> None:
    begin(page, [])
    found = sheet(page)
    assert {tile["reason"] for tile in found["sheet"]["tiles"]} == {"explore"}
    assert "No example yet" in found["sheet"]["note"]
    for path in ("pseudo", "map", "positives", "disagreements", "history", "state"):
        assert page.get(f"{OWL}/{path}").json()["ok"]
    say(page, event(found["sheet"]["tiles"][0]["item"], "positive", "click"))
    assert "likely" in {tile["reason"] for tile in following(page, found["sheet"]["sheet_id"])["sheet"]["tiles"]}


def test_dropped_files_begin_a_category(page: TestClient, room: LabelRoom) -> None:
    content = io.BytesIO()
    Image.new("RGB", (20, 20), (250, 10, 10)).save(content, "PNG")
    kept = page.post("/api/examples", params={"name": "<b>red</b>.png"}, content=content.getvalue()).json()["item"]
    begin(page, [kept])
    assert page.get(f"/photo/{kept}/thumb").headers["Content-Type"] == "image/jpeg"
    assert page.get(f"/photo/{kept}/full").content == content.getvalue()
    assert sheet(page)["sheet"]["tiles"]
    assert "not a photo" in refused(page.post("/api/examples", content=b"<script>"), 400)


def test_words_begin_a_category_only_where_the_backbone_knows_them(page: TestClient) -> None:
    assert page.get("/api/text").json() == {"ok": True, "has_text": False}
    refused(page.post("/api/categories", json={"name": "owl", "text": "an owl"}), 400)


def test_pseudo_negatives_can_be_put_aside(page: TestClient, room: LabelRoom) -> None:
    begin(page, reds(room, 2))
    found = page.get(f"{OWL}/pseudo").json()
    shown = [tile["item"] for tile in found["highest"] + found["random"]]
    assert len(shown) == min(found["num"], 80) > 0
    say(page, event(shown[0], "unsure", "rejected", reason="pseudo-negative"))
    again = page.get(f"{OWL}/pseudo").json()
    assert shown[0] not in [tile["item"] for tile in again["highest"] + again["random"]]


def test_an_audit_is_planned_answered_and_told(page: TestClient, room: LabelRoom) -> None:
    wanted = set(reds(room))
    begin(page, reds(room, 2))
    first = sheet(page)["sheet"]
    assert page.post(f"{OWL}/audit", json={"num": 6}).json()["ok"]
    found = following(page, first["sheet_id"], mode="audit")["sheet"]
    assert len(found["tiles"]) == 6
    for ix, tile in enumerate(found["tiles"]):
        assert tile["purpose"] == "audit"
        value = "positive" if tile["item"] in wanted else "negative"
        say(page, event(tile["item"], value, f"audit-{ix}", purpose="audit", reason="audit"))
    audit = None
    for _ in range(100):
        look = page.get(f"{OWL}/state", params={"who": "me"}).json()["overview"]
        audit = look and look["audit"]
        if audit and audit["left"] == 0:
            break
        time.sleep(0.05)
    assert audit
    assert 0 <= audit["standing"]["recall"]["low"] <= audit["standing"]["recall"]["high"] <= 1
    refused(page.post(f"{OWL}/audit", json={"num": 6}), 400)


def test_exports_are_files(page: TestClient, room: LabelRoom) -> None:
    begin(page, reds(room, 2))
    say(page, event(sheet(page)["sheet"]["tiles"][0]["item"], "negative", "no"))
    answer = page.get("/c/owl/export", params={"format": "csv", "top": 5})
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["label"] for row in rows] == ["positive", "positive", "negative"] + [""] * 5
    for kind in ("coco", "fiftyone", "webdataset"):
        assert page.get("/c/owl/export", params={"format": kind}).content
    refused(page.get("/c/owl/export", params={"format": "exe"}), 400)


def test_more_like_a_photo_and_the_map(page: TestClient, room: LabelRoom) -> None:
    begin(page, reds(room, 2))
    tiles = page.get(f"{OWL}/like", params={"item": reds(room, 1)[0], "num": 4}).json()["tiles"]
    assert len(tiles) == 4
    assert len({tile["item"] for tile in tiles} & set(reds(room))) >= 3  # 6 of 38: by chance p < 0.02
    points = page.get(f"{OWL}/map").json()
    assert len(points["items"]) == len(points["scores"]) == 40
    assert points["labels"] == dict.fromkeys(reds(room, 2), "positive")


def test_pages_show_names_as_text(page: TestClient, room: LabelRoom) -> None:
    name = "<script>alert(1)</script>'\"&"
    refused(page.post("/api/categories", json={"name": name, "items": []}), 400)  # a slash: a path
    begin(page, [], name := "<img src=x onerror=alert(1)>'\"&")
    text = page.get("/c/" + name.replace("%", "%25").replace("?", "%3F").replace("#", "%23")).text
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "<script>" not in text.replace('<script type="module" src="/static/label.js">', "")


@pytest.mark.parametrize("path", ["/c/nothing", "/api/c/nothing/state", "/api/c/nothing/sheet", "/photo/x/thumb"])
def test_what_is_not_there_is_not_found(page: TestClient, path: str) -> None:
    refused(page.get(path), 404)


def test_a_pool_that_keeps_photos_apart_stacks_none(pool: Pool, backbone: CallableBackbone) -> None:
    """Pictures of one frame with several labels look alike, and one key would have answered for all of them."""
    stacked = []
    for name in ("owl", "heron"):
        house = LabelHouse.open([pool.path], backbone=backbone)
        room = house.room(pool_id(pool.path))
        with client(label_app(house, Access(), who="me"), pool=pool_id(pool.path)) as page:
            page.post("/api/categories", json={"name": name, "items": reds(room, 2), "who": "me"})
            sheet = page.get(f"/api/c/{name}/sheet", params={"who": "me", "num": 4}).json()["sheet"]
        house.close()
        stacked.append(sum(len(tile["others"]) for tile in sheet["tiles"]))
        pool.keep_apart()
    assert stacked[0] > 0 == stacked[1]
