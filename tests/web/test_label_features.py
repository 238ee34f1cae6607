"""Features that are learned while people label: taken up without a restart, labels untouched, people told."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from narrowcast.mine.features import FeatureStore, VersionNote
from narrowcast.mine.pool import Pool
from narrowcast.web.label_room import LabelRoom

from .conftest import reds

OWL = "/api/c/owl"


def promote(path: Path, name: str) -> None:
    """What `narrowcast mine update` leaves behind: another version, chosen."""
    pool = Pool.open(path)
    old = pool.features()
    note = VersionNote(name=name, key=f"{pool.store().note.key}+1", dim=2 * old.shape[1])
    store, start = FeatureStore.create(pool.path, note), 0
    for shard in range(pool.num_shards):
        num = len(np.load(pool.store().shard_path(shard)))
        store.write_shard(shard, np.concatenate([old[start : start + num]] * 2, axis=1))
        start += num
    pool.choose(name)


def state(page: TestClient) -> dict[str, Any]:
    return page.get(f"{OWL}/state", params={"who": "me"}).json()


def test_promoted_features_rank_the_next_sheet_and_the_page_says_so(page: TestClient, room: LabelRoom) -> None:
    page.post("/api/categories", json={"name": "owl", "items": reds(room, 2), "who": "me"})
    first = page.get(f"{OWL}/sheet", params={"who": "me", "num": 4}).json()["sheet"]
    before = state(page)["features"]
    assert first["tiles"][0]["model"].startswith(f"{before}/")
    room.worker.call(lambda: promote(room.pool.path, "learned")).result()
    for _ in range(100):
        if state(page)["features"] == "learned":
            break
        time.sleep(0.05)
    assert state(page)["positive"] == 2
    second = page.post(f"{OWL}/next", json={"who": "me", "num": 4, "sheet_id": first["sheet_id"]}).json()["sheet"]
    assert {tile["model"].partition("/")[0] for tile in second["tiles"]} == {"learned"}
    assert page.get("/api/pool").json()["features"] == "learned"
    assert page.get(f"{OWL}/map").json()["items"]


def test_another_choice_of_the_same_features_changes_nothing(page: TestClient, room: LabelRoom) -> None:
    page.post("/api/categories", json={"name": "owl", "items": reds(room, 2), "who": "me"})
    page.get(f"{OWL}/sheet", params={"who": "me", "num": 4})
    Pool.open(room.pool.path).choose(room.inside.version)
    assert room.inside.is_behind()
    room.worker.call(room.inside.follow).result()
    assert not room.inside.is_behind()


def test_a_version_that_cannot_be_read_leaves_the_old_one_in_use(page: TestClient, room: LabelRoom) -> None:
    page.post("/api/categories", json={"name": "owl", "items": reds(room, 2), "who": "me"})
    first = page.get(f"{OWL}/sheet", params={"who": "me", "num": 4}).json()["sheet"]
    before = state(page)["features"]
    pool = Pool.open(room.pool.path)
    FeatureStore.create(pool.path, VersionNote(name="half", key="half", dim=3))  # no shards
    pool.choose("half")
    for _ in range(100):
        if state(page)["problem"]:
            break
        time.sleep(0.05)
    told = state(page)
    assert "lacks the features" in told["problem"]
    assert told["features"] == before
    second = page.post(f"{OWL}/next", json={"who": "me", "num": 4, "sheet_id": first["sheet_id"]}).json()["sheet"]
    assert second["tiles"][0]["model"].startswith(f"{before}/")
