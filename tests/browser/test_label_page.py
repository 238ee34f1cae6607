"""The labelling page as its user has it: keys, reloads, a killed server, a lasso, small screens, other people."""

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Served, until

pytestmark = pytest.mark.browser
DROP = """async (names) => {
  const files = new DataTransfer();
  for (const [name, base64] of names) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    files.items.add(new File([bytes], name, { type: "image/png" }));
  }
  for (const kind of ["dragover", "drop"]) {
    const dropped = { dataTransfer: files, bubbles: true, cancelable: true };
    document.getElementById("drop").dispatchEvent(new DragEvent(kind, dropped));
  }
}"""


def chosen(page: Any) -> str | None:
    return page.evaluate("document.activeElement.closest('li')?.dataset.item")


def is_saved(page: Any) -> bool:
    return page.locator(".tile.pending").count() == 0 and "saving" not in page.inner_text("#saved")


def key_of(served: Served, item: str | None) -> str:
    return "f" if item in served.rare else "d"


def ready(page: Any) -> Any:
    page.wait_for_selector("#grid .tile.chosen")
    return page


def test_from_five_dropped_examples_to_sixty_labels_by_keyboard_alone(
    served: Served, open_page: Any, shot: Any
) -> None:
    import base64

    page = open_page("/")
    page.focus("#name")
    page.keyboard.type("red discs")
    page.evaluate(DROP, [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in served.examples])
    page.wait_for_selector("#given li:nth-child(5)")
    shot(page, "start")
    page.focus("#name")
    page.keyboard.press("Enter")
    ready(page)
    shot(page, "first-sheet")
    num, walked = 0, 0
    while num < 60:
        page.keyboard.press("l")  # there and back: moving costs nothing
        page.keyboard.press("h")
        for _ in range(24):
            item = chosen(page)
            page.keyboard.press(key_of(served, item))
            num += 1
            if num == 60 or page.locator("#grid .tile[data-value='']").count() == 0:
                break
        until(page, lambda: is_saved(page))
        if num == 24:
            shot(page, "labelled")
        before = page.get_attribute("#grid .tile", "data-item")
        page.keyboard.press("Enter")
        until(page, lambda b=before: page.get_attribute("#grid .tile", "data-item") != b)
        walked += 1
    until(page, lambda: is_saved(page))
    said = served.labels("red discs")
    assert len(said) >= 65  # near copies in a stack are labels of their own
    assert len({item for item, _ in said}) == len(said)
    found = {item for item, value in said if value == "positive"} & served.rare
    assert len(found) >= 25  # of 30; 60 of 240 drawn at random find 7.5, and 25 with p < 1e-12
    until(page, lambda: page.inner_text("#num-positive") == str(len(found) + 5))
    shot(page, "after-sixty")


def test_undo_without_limit_also_across_a_reload(served: Served, open_page: Any) -> None:
    page = ready(open_page(served.begin("undo")))
    first = chosen(page)
    for key in "fds":
        page.keyboard.press(key)
    until(page, lambda: is_saved(page))
    page.reload()
    ready(page)
    assert page.locator("#grid .tile[data-value='']").count() == page.locator("#grid .tile").count() - 3
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    page.keyboard.press("u")
    until(page, lambda: is_saved(page) and page.locator("#grid .tile:not([data-value=''])").count() == 0)
    assert page.get_attribute("#grid .tile", "data-item") == first
    assert page.evaluate(f"fetch('/api/p/{served.pool}/c/undo/state').then((r) => r.json())")["negative"] == 0


def test_the_rest_of_the_page_is_negative_and_that_is_one_undo(served: Served, open_page: Any) -> None:
    page = ready(open_page(served.begin("rest")))
    page.keyboard.press("f")
    page.keyboard.press("Shift+D")
    num = page.locator("#grid .tile").count()
    until(page, lambda: page.locator("#grid .tile[data-value='negative']").count() == num - 1 and is_saved(page))
    page.keyboard.press("u")
    until(page, lambda: page.locator("#grid .tile[data-value='']").count() == num - 1 and is_saved(page))
    assert page.locator("#grid .tile[data-value='positive']").count() == 1


def test_the_rest_of_the_page_is_positive_and_nothing_lies_under_the_keys(served: Served, open_page: Any) -> None:
    page = ready(open_page(served.begin("rest yes")))
    page.keyboard.press("d")
    page.keyboard.press("Shift+F")
    num = page.locator("#grid .tile").count()
    until(page, lambda: page.locator("#grid .tile[data-value='positive']").count() == num - 1 and is_saved(page))
    for _ in range(num):
        page.keyboard.press("l")
    chosen_box, foot_box = page.locator("#grid .tile.chosen").bounding_box(), page.locator(".foot").bounding_box()
    assert chosen_box["y"] + chosen_box["height"] <= foot_box["y"] + 1


def test_features_learned_meanwhile_are_taken_up_and_told(served: Served, open_page: Any, shot: Any) -> None:
    from narrowcast.mine.pool import Pool
    from web.test_label_features import promote

    page = ready(open_page(served.begin("features")))
    page.wait_for_timeout(1600)  # the page has heard which features rank
    before = Pool.open(served.folder / "pool").store().note.name
    promote(served.folder / "pool", "learned")
    until(page, lambda: "learned" in page.inner_text("#news"))
    shot(page, "new-features")
    page.click("#news-close")
    page.keyboard.press("d")
    until(page, lambda: is_saved(page))
    Pool.open(served.folder / "pool").choose(before)
    until(page, lambda: before in page.inner_text("#news"))


def test_a_killed_server_loses_and_doubles_nothing(served: Served, open_page: Any, shot: Any) -> None:
    open_page.allow("Failed to load resource: net::ERR_CONNECTION_REFUSED")
    open_page.allow("Failed to load resource: net::ERR_")
    page = ready(open_page(served.begin("power cut")))
    given = len(served.labels("power cut"))
    items = [tile.get_attribute("data-item") for tile in page.locator("#grid .tile").all()]
    for _ in range(5):
        page.keyboard.press("d")
    served.kill()  # while labels are on their way
    for _ in range(5):
        page.keyboard.press("d")
    until(page, lambda: "not saved yet" in page.inner_text("#saved"))
    assert page.locator(".tile.pending").count() >= 5
    shot(page, "server-away")
    page.wait_for_timeout(500)
    served.start()
    until(page, lambda: is_saved(page) and "saved" in page.inner_text("#saved"))
    said = [item for item, _ in served.labels("power cut")[given:]]
    stacked = len(said) - len([item for item in said if item in items[:10]])
    assert len(said) == len(set(said)) == 10 + stacked
    assert [item for item in said if item in items] == items[:10]


def test_labels_outlive_a_reload_while_the_server_is_away(served: Served, open_page: Any) -> None:
    open_page.allow("Failed to load resource: net::ERR_")
    page = ready(open_page(served.begin("reload away")))
    given = len(served.labels("reload away"))
    item = chosen(page)
    served.kill()
    page.keyboard.press("d")
    until(page, lambda: "not saved yet" in page.inner_text("#saved"))
    served.start()
    page.reload()
    ready(page)
    until(page, lambda: item in [said for said, _ in served.labels("reload away")[given:]])
    assert page.get_attribute(f".tile[data-item='{item}']", "data-value") == "negative"


def test_a_second_tab_continues_where_one_was(served: Served, open_page: Any, chromium: Any) -> None:
    address = served.begin("tabs")
    first = ready(open_page(address))
    second = ready(open_page(address, context=first.context))
    assert chosen(first) == chosen(second)
    item = chosen(first)
    first.bring_to_front()
    first.keyboard.press("f")
    until(second, lambda: second.get_attribute(f".tile[data-item='{item}']", "data-value") == "positive")
    first.keyboard.press("Enter")
    until(second, lambda: chosen(first) != item and chosen(first) == second.get_attribute(".tile.chosen", "data-item"))


def test_several_people_are_not_asked_the_same(served: Served, open_page: Any) -> None:
    address = served.begin("people")
    sheets = []
    for who in ("ann", "bob"):
        page = ready(open_page(address))
        page.fill("#who", who)
        page.press("#who", "Tab")
        page.wait_for_timeout(800)
        sheets.append({tile.get_attribute("data-item") for tile in page.locator("#grid .tile").all()})
    assert len(sheets[0]) == len(sheets[1]) == 24
    assert not sheets[0] & sheets[1]


def test_a_lasso_labels_many_at_once(served: Served, open_page: Any, shot: Any) -> None:
    page = ready(open_page(served.begin("lasso")))
    page.keyboard.press("3")
    page.wait_for_selector("#panel-map:not([hidden])")
    until(page, lambda: "photos" in page.inner_text("#map-legend"))
    box = page.locator("#map").bounding_box()
    corners = [(0.05, 0.05), (0.45, 0.05), (0.45, 0.95), (0.05, 0.95), (0.05, 0.05)]
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if not number:
            page.mouse.down()
    shot(page, "lasso")
    page.mouse.up()
    page.wait_for_selector("#grid-map .tile")
    num = page.locator("#grid-map .tile:not([data-value=''])").count()
    open_ones = page.locator("#grid-map .tile[data-value='']").count()
    assert open_ones > 20
    page.keyboard.press("Shift+D")
    until(page, lambda: is_saved(page) and page.locator("#grid-map .tile[data-value='']").count() == 0)
    assert page.locator("#grid-map .tile[data-value='negative']").count() == open_ones
    assert num + open_ones == page.locator("#grid-map .tile").count()
    shot(page, "map")


def test_a_pseudo_negative_is_put_aside_with_one_key(served: Served, open_page: Any, shot: Any) -> None:
    page = ready(open_page(served.begin("pseudo")))
    page.keyboard.press("2")
    page.wait_for_selector("#grid-highest .tile")
    page.locator("#grid-highest .tile .photo").first.focus()
    item = chosen(page)
    shot(page, "pseudo-negatives")
    page.keyboard.press("r")
    until(page, lambda: is_saved(page) and (item, "unsure") in served.labels("pseudo"))
    page.keyboard.press("1")
    page.keyboard.press("2")
    until(page, lambda: page.locator(f"#grid-highest .tile[data-item='{item}']").count() == 0)


def test_an_export_is_downloaded(served: Served, open_page: Any, shot: Any) -> None:
    page = ready(open_page(served.begin("export")))
    page.keyboard.press("d")
    until(page, lambda: is_saved(page))
    page.keyboard.press("7")
    page.fill("#top", "4")
    with page.expect_download() as waiting:
        page.click("#download")
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert waiting.value.suggested_filename == "export.csv"
    assert lines[0] == "path,category,label,score,item"
    assert len(lines) == 1 + len(served.labels("export")) + 4
    shot(page, "export")


def test_history_undoes_any_event(served: Served, open_page: Any, shot: Any) -> None:
    page = ready(open_page(served.begin("history")))
    first = chosen(page)
    for key in "fdd":
        page.keyboard.press(key)
    until(page, lambda: is_saved(page))
    page.keyboard.press("6")
    page.wait_for_selector("#events li:nth-child(4)")
    row = page.locator("#events li", has=page.locator(f"img[src*='{first}']"))
    row.get_by_role("button").click()
    until(page, lambda: "taken back" in row.last.inner_text())
    shot(page, "history")
    page.keyboard.press("1")
    until(page, lambda: page.get_attribute(f"#grid .tile[data-item='{first}']", "data-value") == "")


def test_zoom_more_like_this_and_the_list_of_keys(served: Served, open_page: Any, shot: Any) -> None:
    page = ready(open_page(served.begin("zoom")))
    item = chosen(page)
    page.keyboard.press("Space")
    page.wait_for_selector("#zoom[open]")
    photo = "document.getElementById('zoom-photo')"
    assert page.evaluate(f"{photo}.decode().then(() => {photo}.naturalWidth)") == 120  # the file itself
    shot(page, "zoom")
    page.keyboard.press("f")  # labels there, too, and goes on
    until(page, lambda: (item, "positive") in served.labels("zoom"))
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    until(page, lambda: "More like" in page.inner_text("#note"))
    shot(page, "more-like-this")
    page.keyboard.press("Enter")
    until(page, lambda: page.locator("#note").is_hidden() and page.locator(f"#grid .tile[data-item='{item}']").count())
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    shot(page, "keys")
    page.keyboard.press("Escape")


def test_an_audit_ends_in_intervals(served: Served, open_page: Any, shot: Any) -> None:
    page = ready(open_page(served.begin("audit", num=6)))
    page.select_option("#audit-num", "50")
    page.click("#audit")
    until(page, lambda: page.locator("#grid .why-audit").count() > 0)
    for _ in range(4):
        for _ in range(page.locator("#grid .tile[data-value='']").count()):
            page.keyboard.press(key_of(served, chosen(page)))
        until(page, lambda: is_saved(page))
        page.locator("#grid .tile .photo").first.focus() if page.locator("#grid .tile").count() else None
        before = page.get_attribute("#grid .tile", "data-item") if page.locator("#grid .tile").count() else None
        page.keyboard.press("Enter")
        page.wait_for_timeout(600)
        if before is None or not page.locator("#grid .tile").count():
            break
    until(page, lambda: page.locator(".interval").count() == 4)
    assert re.search(r"recall\n?.*\d+% \(\d+%–\d+%\)", page.inner_text("#intervals"), re.DOTALL)
    shot(page, "audited")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("320-px", {"viewport": {"width": 320, "height": 640}}, id="320 px wide"),
        pytest.param(
            "200-percent", {"viewport": {"width": 640, "height": 430}, "device_scale_factor": 2}, id="200% zoom"
        ),
        pytest.param(
            "touch", {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}, id="touch"
        ),
    ],
)
def test_small_screens_and_fingers(
    served: Served, open_page: Any, shot: Any, name: str, options: dict[str, Any]
) -> None:
    page = ready(open_page(served.begin(name), **options))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, name)
    item = page.get_attribute("#grid .tile.chosen", "data-item")
    yes = page.locator(f"#grid .tile[data-item='{item}'] .marks .yes")
    yes.tap() if options.get("has_touch") else yes.click()
    until(page, lambda: (item, "positive") in served.labels(name))
    undo = page.locator("#actions [data-key=u]")
    undo.tap() if options.get("has_touch") else undo.click()
    until(page, lambda: page.get_attribute(f"#grid .tile[data-item='{item}']", "data-value") == "")
    for view in ("pseudo", "map", "positives", "disagreements", "history", "export"):
        page.locator(f"#tab-{view}").click()
        page.wait_for_selector(f"#panel-{view}:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    start = open_page("/", context=page.context)
    assert start.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_names_are_never_html(served: Served, open_page: Any) -> None:
    name = "<img src=x onerror=alert(1)>"
    served.post(f"/api/p/{served.pool}/categories", {"name": name, "items": []})
    page = open_page("/")
    page.wait_for_selector("#categories li")
    page.get_by_text(name, exact=True).click()
    ready(page)
    assert page.inner_text("#category") == name
    assert page.locator("img[src='x']").count() == 0


def test_a_key_is_visible_at_once(served: Served, open_page: Any) -> None:
    """Within one frame, whatever the server does: the mark is made before the request is."""
    page = ready(open_page(served.begin("at once")))
    took = page.evaluate("""() => {
      const tile = document.activeElement.closest("li");
      const began = performance.now();
      document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "f", bubbles: true }));
      return [tile.dataset.value, performance.now() - began];
    }""")
    assert took[0] == "positive"
    assert took[1] < 100
