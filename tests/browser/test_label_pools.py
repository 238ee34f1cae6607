"""Several pools behind one page: listed, opened, labelled, each by itself; wide and narrow, light and dark."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from narrowcast.mine.labels import LabelLog
from narrowcast.web.label_house import pool_id

from .conftest import Served, until
from .test_access_for_all import violations

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def several(served: Served) -> Iterator[Served]:
    """The server with three pools in place of one; one of them cannot be read."""
    served.kill()
    pools = served.folder / "pools"
    for name in ("harbour", EVIL):
        shutil.copytree(served.folder / "pool", pools / name, ignore=shutil.ignore_patterns("labels.sqlite*", "cache"))
    (pools / "broken").mkdir()
    (pools / "broken" / "pool.json").write_text("{")
    with LabelLog.open(pools / "harbour") as log:
        log.begin("gull")
    served.start("--pools", "pools")
    yield served
    served.kill()
    shutil.rmtree(pools)
    served.start()


def test_pools_are_listed_opened_and_labelled(several: Served, open_page: Any, shot: Any) -> None:
    page = open_page("/")
    page.wait_for_selector("#pools li")
    assert page.inner_text("#sum") == "3 pools, 480 photos"
    assert "damaged" in page.locator("#pools > li", has_text="broken").inner_text()
    assert page.locator("img[src='x']").count() == 0
    page.get_by_role("link", name="harbour").click()
    page.wait_for_selector("#categories li")
    page.fill("#name", "red disc")
    page.click("#pick summary")
    page.wait_for_selector("#sample li img")
    page.locator("#sample .photo").first.click()
    page.click("#begin")
    page.wait_for_selector("#grid .tile.chosen")
    assert f"/p/{pool_id(several.folder / 'pools' / 'harbour')}/c/red%20disc" in page.url
    for key in "fd":
        page.keyboard.press(key)
    until(page, lambda: page.locator(".tile.pending").count() == 0 and "saving" not in page.inner_text("#saved"))
    page.get_by_role("link", name="Pools").click()
    page.wait_for_selector("#pools li")
    first = page.locator("#pools > li").first  # the one that was labelled last
    assert "last labelled" in first.inner_text()
    assert "2 positive of 3 labels" in first.inner_text()
    shot(page, "pools")
    first.get_by_role("link", name="red disc").click()
    page.wait_for_selector("#grid .tile.chosen")
    page.get_by_role("link", name="harbour").click()
    page.wait_for_selector("#categories li")
    assert page.locator("#categories li").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_the_list_is_for_all(several: Served, open_page: Any, shot: Any, scheme: str, width: int) -> None:
    page = open_page("/", color_scheme=scheme, viewport={"width": width, "height": 700})
    page.wait_for_selector("#pools li")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    shot(page, f"pools-{scheme}-{width}")
