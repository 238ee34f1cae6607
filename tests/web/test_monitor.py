"""The monitor of a stream: what it tells, what it costs, who may ask."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from fakes import CLASSES, shapes
from narrowcast.stream.stream_report import LiveFacts, StreamReport
from narrowcast.web.access import Access
from narrowcast.web.monitor import MAX_EVENTS, Monitor
from narrowcast.web.monitor_app import monitor_app

from .clients import client, refused

FRAMES, LABELS = shapes(6)
FACTS = LiveFacts(taught_frame=None, dropped=0, is_after_gap=False, is_swapped=False, weights_age=None, labels_age=None)


def report(index: int, *, teacher: bool = False, live: LiveFacts | None = FACTS, **values: Any) -> StreamReport:
    nothing: dict[str, Any] = {"updates": 0, "accuracy": None, "accuracy_after": None, "loss": None, "stride": 8}
    return StreamReport(
        index,
        index / 25,
        LABELS[index],
        LABELS[index],
        teacher_labels=LABELS[index] if teacher else None,
        timings_ms={"student": 2.0, "latency": 3.0},
        live=live,
        **nothing | values,
    )


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(source="rtsp://camera/1", classes=CLASSES)


@pytest.fixture
def page(monitor: Monitor) -> Iterator[TestClient]:
    with client(monitor_app(monitor, Access())) as talking:
        yield talking


def pixels(jpeg: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_before_the_first_frame_there_is_nothing_to_see(page: TestClient) -> None:
    state = page.get("/state").json()
    assert (state["ok"], state["frame"], state["seconds"], state["events"]) == (True, None, [], [])
    refused(page.get("/picture"), 404)


def test_the_state_counts_what_the_stream_reports(monitor: Monitor, page: TestClient) -> None:
    gap = replace(FACTS, is_after_gap=True, dropped=3, is_swapped=True, taught_frame=0, labels_age=2)
    monitor.write(FRAMES[0], report(0))
    monitor.write(FRAMES[4], report(4, live=gap, accuracy=0.5, accuracy_after=0.75, updates=4, stride=16))
    state = page.get("/state").json()
    assert (state["frame"], state["labels_age"]) == (4, 2)
    assert state["counts"] == {
        "frames": 2, "dropped": 3, "teacher_frames": 1, "updates": 4, "swaps": 1, "gaps": 1
    }  # fmt: skip
    assert sum(one["frames"] for one in state["seconds"]) == 2
    assert [one["accuracy"] for one in state["seconds"] if "accuracy" in one] == [0.5]
    texts = [event["text"] for event in state["events"]]
    assert texts == [
        "the source was away, or shows another scene",
        "3 frames dropped",
        "learned: 50% before, 75% after, 4 updates",
    ]


def test_a_page_gets_only_what_is_new_to_it(monitor: Monitor, page: TestClient) -> None:
    for index in range(4):
        monitor.write(FRAMES[index], report(index, live=replace(FACTS, dropped=1)))
    first = page.get("/state").json()
    again = page.get(f"/state?since={first['seconds'][-1]['second']}&event={first['events'][-1]['number']}").json()
    assert len(first["events"]) == 4
    assert again["events"] == []
    assert len(again["seconds"]) <= 2


def test_what_is_kept_is_bounded(monitor: Monitor) -> None:
    for _ in range(MAX_EVENTS + 50):
        monitor.write(FRAMES[1], report(1, live=replace(FACTS, dropped=1)))
    events = monitor.state()["events"]
    assert len(events) == MAX_EVENTS
    assert events[-1]["number"] == MAX_EVENTS + 49


def test_the_views_show_the_labels_the_frame_and_the_teacher(monitor: Monitor, page: TestClient) -> None:
    monitor.write(FRAMES[5], report(5))
    refused(page.get("/picture?view=teacher"), 404)
    monitor.taught(FRAMES[2], report(2, teacher=True))
    plain, drawn, teacher = (pixels(page.get(f"/picture?view={v}").content) for v in ("plain", "labels", "teacher"))
    assert plain.shape == FRAMES[5].image_rgb.shape
    assert np.abs(plain.astype(int) - FRAMES[5].image_rgb).mean() < 8
    assert np.abs(plain.astype(int) - drawn).max() > 20
    assert np.abs(drawn.astype(int) - teacher).max() > 20
    refused(page.get("/picture?view=../etc"), 400)
    refused(page.get("/state?since=1e9"), 400)


def test_a_picture_is_drawn_once_however_many_look(monitor: Monitor, page: TestClient) -> None:
    monitor.write(FRAMES[0], report(0))
    seen: list[bytes] = []
    threads = [threading.Thread(target=lambda: seen.append(page.get("/picture").content)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1
    assert monitor.num_drawn == 1
    monitor.write(FRAMES[1], report(1))
    assert monitor.num_drawn == 1  # nobody has asked for that one


def test_the_page_says_what_it_shows_and_escapes_it() -> None:
    monitor = Monitor(source="<script>alert(1)</script>", classes=("background", "<b>dog</b>"))
    with client(monitor_app(monitor, Access())) as page:
        text = page.get("/").text
        assert "<script>alert" not in text
        assert "&lt;b&gt;dog" in text
        assert "/static/monitor.js" in text
        assert page.get("/static/monitor.js").status_code == 200


def test_nothing_can_be_written_and_no_other_host_may_ask(page: TestClient) -> None:
    assert page.post("/state", json={}).status_code == 405
    refused(page.get("/state", headers={"Host": "evil.example"}), 403)


def test_the_end_is_told(monitor: Monitor) -> None:
    assert not monitor.state()["is_over"]
    monitor.finish()
    assert monitor.state()["is_over"]
