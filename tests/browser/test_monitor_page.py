"""The page of a stream that runs, in a real browser."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from fakes import CLASSES, shapes
from narrowcast.stream.stream_report import LiveFacts, StreamReport
from narrowcast.web.access import Access
from narrowcast.web.monitor import Monitor
from narrowcast.web.monitor_app import monitor_app
from narrowcast.web.serving import serving

pytestmark = pytest.mark.browser
FRAMES, LABELS = shapes(40, size_wh=(320, 240))
FACTS = LiveFacts(
    taught_frame=None, dropped=0, is_after_gap=False, is_swapped=False, weights_age=3, labels_age=5
)  # fmt: skip


def report(index: int) -> StreamReport:
    is_lesson, labels = index % 8 == 0, LABELS[index % 40]
    values = {"accuracy": 0.8, "accuracy_after": 0.9} if is_lesson else {"accuracy": None, "accuracy_after": None}
    return StreamReport(
        index,
        index / 25,
        labels,
        labels,
        teacher_labels=labels if is_lesson else None,
        stride=8,
        updates=4 * is_lesson,
        loss=None,
        timings_ms={"student": 5.0, "latency": 7.0},
        live=replace(FACTS, is_after_gap=index == 3),
        **values,
    )


@pytest.fixture
def address() -> Iterator[str]:
    """A stream that runs for as long as the test."""
    monitor, stopping = Monitor(source="<b>gate</b>", classes=CLASSES), threading.Event()

    def run() -> None:
        index = 0
        while not stopping.wait(0.04):
            monitor.write(FRAMES[index % 40], report(index))
            index += 1
        monitor.finish()

    access = Access()
    with serving(monitor_app(monitor, access), access) as served:
        thread = threading.Thread(target=run)
        thread.start()
        yield served.url
        stopping.set()
        thread.join()


def test_several_watch_a_stream(chromium: Any, address: str, shot: Callable[[Any, str], None]) -> None:
    problems: list[str] = []
    pages = []
    for width in (1280, 390):
        page = chromium.new_page(viewport={"width": width, "height": 860})
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        pages.append(page)
    for page in pages:
        page.wait_for_selector("#events li:nth-child(2)")
        page.wait_for_timeout(1500)
        assert page.evaluate("document.getElementById('picture').naturalWidth") == 320
        assert page.inner_text("h1") == "<b>gate</b>"
        assert "the source was away" in page.inner_text("#events")
        assert page.locator("#curves canvas").count() == 5
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        labels = page.get_attribute("#curves canvas", "aria-label")
        assert labels is not None
        assert "80% now" in labels
    wide = pages[0]
    wide.keyboard.press("Space")
    assert wide.get_attribute("#pause", "aria-pressed") == "true"
    wide.wait_for_timeout(600)
    held = wide.get_attribute("#picture", "src")
    wide.wait_for_timeout(600)
    assert wide.get_attribute("#picture", "src") == held
    shot(wide, "monitor")
    shot(pages[1], "monitor-narrow")
    for page in pages:
        page.close()
    assert problems == []
