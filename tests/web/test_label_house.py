"""Several pools behind one labelling page: cards without opening, rooms for those that are opened, nothing by path."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from mine.conftest import draw
from narrowcast.core.errors import UsageError
from narrowcast.mine.indexing import index
from narrowcast.mine.labels import LabelEvent, LabelLog
from narrowcast.mine.pool import Pool
from narrowcast.models.callable_backbone import CallableBackbone
from narrowcast.web import label_house
from narrowcast.web.access import Access
from narrowcast.web.label_app import label_app
from narrowcast.web.label_house import LabelHouse, NoPool, pool_id

from .clients import client, refused


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, backbone: CallableBackbone) -> Path:
    """Photos, and a folder with a pool of all of them, one of half of them, and something that is no pool."""
    folder, rng = tmp_path_factory.mktemp("house"), np.random.default_rng(0)
    for ix in range(40):
        draw(folder / "photos" / f"{ix % 2}" / f"{ix:03}", rng, is_red=ix < 16)
    for name, source in (("All of 2024", "photos"), ("half", "photos/1")):
        for _ in index(Pool.create(folder / "pools" / name), [folder / source], backbone, num_workers=1):
            pass
    (folder / "pools" / "other").mkdir()
    return folder


@pytest.fixture
def photos(indexed: Path) -> Path:
    return indexed / "photos"


@pytest.fixture
def pools(tmp_path: Path, indexed: Path) -> Path:
    return Path(shutil.copytree(indexed / "pools", tmp_path / "pools"))


@pytest.fixture
def house(pools: Path, backbone: CallableBackbone) -> Iterator[LabelHouse]:
    opened = LabelHouse.open([], within=pools, backbone=backbone)
    yield opened
    opened.close()


@pytest.fixture
def page(house: LabelHouse) -> Iterator[TestClient]:
    with client(label_app(house, Access(), who="me")) as talking:
        yield talking


def label(folder: Path, category: str, *values: str, at: float = 0.0) -> None:
    items = Pool.open(folder).items()
    with LabelLog.open(folder) as log:
        log.begin(category)
        log.add(
            [
                LabelEvent(category=category, item=item, value=value, time_s=at + ix)
                for ix, (item, value) in enumerate(zip(items, values, strict=False))
            ]
        )


def cards(page: TestClient) -> dict[str, dict[str, Any]]:
    """What the start page shows, by name."""
    return {card["name"]: card for card in page.get("/api/pools").json()["pools"]}


def test_the_start_page_lists_pools_with_their_numbers_and_opens_none(
    page: TestClient, house: LabelHouse, pools: Path
) -> None:
    label(pools / "half", "owl", "positive", "negative", "unsure", at=1000.0)
    label(pools / "half", "elk", "positive", at=500.0)
    assert "label_pools.js" in page.get("/").text
    first, second = page.get("/api/pools").json()["pools"]
    assert (first["name"], second["name"]) == ("half", "All of 2024")  # the one that was labelled last first
    assert (first["photos"], second["photos"]) == (20, 40)
    assert (first["positive"], first["labels"], first["last_s"]) == (2, 4, 1002.0)
    assert [(one["name"], one["positive"], one["negative"]) for one in first["categories"]] == [
        ("owl", 1, 1),
        ("elk", 1, 0),
    ]
    assert (second["categories"], second["last_s"], second["problem"]) == ([], None, "")
    assert all(house.open_room(one["identity"]) is None for one in (first, second))
    assert not (pools / "All of 2024" / "labels.sqlite").exists()  # a look writes nothing


def test_numbers_follow_what_is_said_here_and_elsewhere(page: TestClient, pools: Path) -> None:
    half = pool_id(pools / "half")
    label(pools / "half", "owl", "positive")
    assert cards(page)["half"]["labels"] == 1
    item = Pool.open(pools / "half").items()[5]
    event = {"event_id": "from-a-page", "item": item, "value": "negative"}
    assert page.post(f"/api/p/{half}/c/owl/events", json={"events": [event]}).json()["ok"]
    assert cards(page)["half"]["labels"] == 2
    with LabelLog.open(pools / "half") as log:  # another process
        log.undo("owl")
    assert cards(page)["half"]["labels"] == 1


def test_each_pool_is_labelled_as_if_it_were_alone(page: TestClient, pools: Path) -> None:
    ids = {name: pool_id(pools / name) for name in ("All of 2024", "half")}
    assert ids["All of 2024"].startswith("all-of-2024-")
    for name, identity in ids.items():
        items = Pool.open(pools / name).items()[:2]
        made = {"name": "owl", "items": items, "who": "me"}
        assert page.post(f"/api/p/{identity}/categories", json=made).json()["ok"]
        sheet = page.get(f"/api/p/{identity}/c/owl/sheet", params={"who": "me", "num": 8}).json()["sheet"]
        shown = {tile["item"] for tile in sheet["tiles"]}
        assert shown
        assert shown <= set(Pool.open(pools / name).items())
        assert page.get(f"/p/{identity}/photo/{items[0]}/thumb").status_code == 200
        text = page.get(f"/p/{identity}/c/owl").text
        assert f'data-pool="{identity}"' in text
        assert '<a href="/" title="All pools">' in text
        assert str(pools) not in text + page.get(f"/p/{identity}").text + page.get("/api/pools").text


def test_a_photo_is_shown_in_its_own_pool_only(page: TestClient, pools: Path) -> None:
    red = next(
        item for item in Pool.open(pools / "All of 2024").items() if item not in Pool.open(pools / "half").items()
    )
    assert page.get(f"/p/{pool_id(pools / 'All of 2024')}/photo/{red}/full").status_code == 200
    refused(page.get(f"/p/{pool_id(pools / 'half')}/photo/{red}/full"), 404)


@pytest.mark.parametrize("odd", ["half", "%2e%2e", "..%2fhalf", "pools%2fhalf", "%00", "x" * 3000, "half-00000000"])
def test_only_identities_lead_to_pools(page: TestClient, house: LabelHouse, pools: Path, odd: str) -> None:
    for path in (
        f"/p/{odd}",
        f"/p/{odd}/c/owl",
        f"/api/p/{odd}",
        f"/api/p/{odd}/c/owl/state",
        f"/p/{odd}/photo/{'0' * 32}/thumb",
    ):
        refused(page.get(path), 404)
    for path in (f"/api/p/{odd}/categories", f"/api/p/{odd}/c/owl/events", f"/api/examples/{odd}"):
        answer = page.post(path, json={"name": "owl", "items": []})
        refused(answer, answer.status_code)
        assert answer.status_code in (400, 404)
    assert all(house.open_room(identity) is None for identity in house.folders())
    assert not list(pools.rglob("labels.sqlite"))


def test_other_pages_write_to_no_pool(page: TestClient, pools: Path) -> None:
    for name in ("All of 2024", "half"):
        made = {"name": "owl", "items": []}
        path = f"/api/p/{pool_id(pools / name)}/categories"
        refused(page.post(path, json=made, headers={"Origin": "http://evil.example"}), 403)
        refused(page.post(path, json=made, headers={"Host": "evil.example"}), 403)
    assert not list(pools.rglob("labels.sqlite"))


def test_a_pool_that_appears_is_there_and_a_broken_one_says_why(
    page: TestClient, pools: Path, photos: Path, backbone: CallableBackbone
) -> None:
    for _ in index(Pool.create(pools / "new"), [photos / "0"], backbone, num_workers=1):
        pass
    Pool.create(pools / "empty")
    (pools / "broken").mkdir()
    (pools / "broken" / "pool.json").write_text("{")
    (pools / "half" / "labels.sqlite").write_bytes(b"no database, but words" * 99)
    shown = cards(page)
    assert shown["new"]["photos"] == 20
    assert "nothing is indexed yet" in shown["empty"]["problem"]
    assert "damaged" in shown["broken"]["problem"]
    assert "not a label log" in shown["half"]["problem"]
    assert not any(str(pools) in card["problem"] for card in shown.values())
    assert page.get(f"/p/{pool_id(pools / 'new')}").status_code == 200
    refused(page.get(f"/p/{pool_id(pools / 'broken')}"), 507)


def test_one_pool_alone_needs_no_list(pools: Path, backbone: CallableBackbone) -> None:
    house = LabelHouse.open([pools / "half", pools / "other" / ".." / "half"], backbone=backbone)  # the same twice
    with client(label_app(house, Access())) as page:
        answer = page.get("/")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/p/{pool_id(pools / 'half')}")
        assert "All pools" not in page.get(answer.headers["Location"]).text
    house.close()


def test_pools_of_the_same_name_are_told_apart(pools: Path, photos: Path, backbone: CallableBackbone) -> None:
    shutil.copytree(pools / "half", pools / "other" / "half")
    house = LabelHouse.open([pools / "half", pools / "other" / "half"], backbone=backbone)
    assert [card.name for card in house.cards()] == ["half in other", "half in pools"]
    assert len({card.identity for card in house.cards()}) == 2
    house.close()


def test_a_pool_that_nobody_uses_makes_room(house: LabelHouse, pools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a few, what was left is closed; a label that comes later opens it again."""
    monkeypatch.setattr(label_house, "MOST_OPEN", 1)
    half, whole = pool_id(pools / "half"), pool_id(pools / "All of 2024")
    house.room(half)
    house.room(whole)
    assert house.open_room(half) is not None  # somebody was there a moment ago
    monkeypatch.setattr(label_house, "AWAY_S", 0.0)
    house.open_room(whole)
    house._leave()
    assert house._rooms.keys() == {whole}
    house.room(half).log.begin("owl")
    assert "owl" in house.room(half).log.categories()


def test_a_category_leads_to_its_pool(house: LabelHouse, pools: Path) -> None:
    label(pools / "half", "owl")
    assert house.with_category("owl") == pool_id(pools / "half")
    with pytest.raises(UsageError, match="did you mean 'owl'"):
        house.with_category("owk")
    label(pools / "All of 2024", "owl")
    with pytest.raises(UsageError, match="2 pools have one"):
        house.with_category("owl")


def test_what_is_no_pool_is_one_line(pools: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no pool"):
        LabelHouse.open([pools / "half", pools / "other"])
    with pytest.raises(UsageError, match="no pool is in it"):
        LabelHouse.open([], within=pools / "other")
    with pytest.raises(UsageError, match="is a pool itself"):
        LabelHouse.open([], within=pools / "half")
    with pytest.raises(UsageError, match="no pool is in it"):
        LabelHouse.open([], within=tmp_path / "nowhere")
    house = LabelHouse.open([pools / "half"])
    with pytest.raises(NoPool):
        house.room("nothing")
    house.close()


def test_a_log_of_the_future_is_told_of(page: TestClient, pools: Path) -> None:
    with sqlite3.connect(pools / "half" / "labels.sqlite") as log:
        log.execute("PRAGMA user_version = 99")
    shown = cards(page)
    assert "format 99" in shown["half"]["problem"]
