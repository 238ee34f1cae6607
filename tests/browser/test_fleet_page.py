"""The page of a fleet, in a real browser: it follows what the fleet's folder says."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from narrowcast.fleet.state import CameraState, FleetReport, write_event, write_state
from narrowcast.web.access import Access
from narrowcast.web.fleet_app import fleet_app
from narrowcast.web.serving import serving

from .conftest import until
from .test_access_for_all import violations

pytestmark = pytest.mark.browser


def cameras(frames: int) -> tuple[CameraState, ...]:
    gate = CameraState(
        name="gate",
        status="running",
        frames=frames,
        time_s=frames / 25,
        stride=16,
        accuracy=0.83,
        target=0.8,
        wants_per_s=1.5,
        rate=1.2,
        calls=7,
        refused=12,
        frames_per_s=24.8,
        recalled="gate-of-monday",
    )
    door = CameraState(
        name="<b>door</b>", status="failed", message="rtsp://door/1: cannot be opened: refused", worker=1
    )
    low = CameraState(name="yard", status="running", frames=40, accuracy=0.41, target=0.8, stride=8, worker=1)
    return gate, door, low


def tell(out: Path, frames: int) -> None:
    write_state(out, FleetReport(time.time(), cameras(frames)))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The folder of a fleet, and where its page is."""
    out = tmp_path / "street"
    out.mkdir()
    tell(out, 120)
    write_event(out, "begun", workers=2, cameras=3)
    write_event(out, "worker lost", worker=1, cameras=["yard"])
    write_event(out, "camera moved", camera="yard", worker=0, before=1)
    write_event(out, "camera failed", camera="<b>door</b>", frame=3, message="<i>refused</i>")
    (out / "cameras" / "gate").mkdir(parents=True)
    (out / "cameras" / "gate" / "report.html").write_text("<p>the report</p>", encoding="utf-8")
    access = Access()
    with serving(fleet_app(out, access), access) as served:
        yield out, served.url


def test_the_page_follows_the_fleet(chromium: Any, fleet: tuple[Path, str], shot: Callable[[Any, str], None]) -> None:
    out, url = fleet
    problems: list[str] = []
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#cameras tr:nth-child(3)")
    rows = page.inner_text("#cameras")
    assert "<b>door</b>" in rows  # text, not markup
    assert "cannot be opened: refused" in rows
    assert "120" in rows
    assert "worker lost" in page.inner_text("#events")
    shot(page, "fleet")
    page.focus("#cameras a")
    tell(out, 777)
    until(page, lambda: "777" in page.inner_text("#cameras"))
    assert page.evaluate("document.activeElement.textContent") == "gate"  # what one was at stays
    with page.expect_download() as download:
        page.click("#cameras a")
    assert download.value.suggested_filename == "gate.html"
    page.close()
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_keeps_people_out(
    chromium: Any, fleet: tuple[Path, str], shot: Callable[[Any, str], None], scheme: str, width: int
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(fleet[1])
    page.wait_for_selector("#cameras tr:nth-child(3)")
    tell(fleet[0], 130)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, f"fleet-{scheme}-{width}")
    page.close()
