"""axe-core finds nothing serious on any page, light or dark, wide or narrow."""

import os
from pathlib import Path
from typing import Any

import pytest

from .conftest import Served, until

pytestmark = pytest.mark.browser
VIEWS = ("label", "pseudo", "map", "positives", "disagreements", "history", "export")
RUN = "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"


def violations(page: Any) -> list[str]:
    page.evaluate(Path(os.environ["NARROWCAST_AXE"]).read_text(encoding="utf-8"))
    return [
        f"{found['id']}: {node['html'][:160]}"
        for found in page.evaluate(RUN)
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_view_of_the_labelling_page(served: Served, open_page: Any, scheme: str, width: int) -> None:
    name = f"axe {scheme} {width}"
    page = open_page(served.begin(name), color_scheme=scheme, viewport={"width": width, "height": 800})
    page.wait_for_selector("#grid .tile.chosen")
    for key in "fds":
        page.keyboard.press(key)
    until(page, lambda: page.locator(".tile.pending").count() == 0)
    for number, view in enumerate(VIEWS, 1):
        page.keyboard.press(str(number)) if view != "label" else None
        page.wait_for_selector(f"#panel-{view}:not([hidden])")
        page.wait_for_timeout(300)
        assert violations(page) == [], view
    page.click("#open-help")
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_start_page(served: Served, open_page: Any, scheme: str) -> None:
    page = open_page("/", color_scheme=scheme)
    page.wait_for_selector("#pick summary")
    page.click("#pick summary")
    page.wait_for_selector("#sample li")
    assert violations(page) == []
