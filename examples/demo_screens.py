"""The screenshots of docs/labelling.md: the labelling page over the pool of make demo-label, as a person would use it.

python examples/demo_screens.py demo/demo.pool demo/examples docs/images --chromium /usr/bin/chromium
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

HAS_PHOTOS = """[...document.images]
  .filter((image) => image.offsetParent && image.getBoundingClientRect().top < innerHeight)
  .every((image) => image.complete && image.naturalWidth)"""


def main() -> int:
    """Serve, label, keep the pictures."""
    options = ArgumentParser(description="Screenshots for the documentation")
    options.add_argument("pool", type=Path)
    options.add_argument("examples", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--more", type=Path, help="keep pictures of dark, narrow and enlarged pages here, to look at")
    options.add_argument("--pools", type=Path, help="a folder of pools: a picture of the page that lists them, too")
    options.add_argument("--chromium", default="/usr/bin/chromium")
    options.add_argument("--name", default="cat")
    arguments = options.parse_args()
    command = [sys.executable, "-m", "narrowcast", "mine", "label", "--pool", str(arguments.pool), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 780})
            walk(page, url, sorted(arguments.examples.glob("*")), arguments.out, arguments.name)
            if arguments.more:
                others(browser, page.url, arguments.more)
            if arguments.pools:
                several(browser, arguments.pools, arguments.out)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return 0


def walk(page: Page, url: str, examples: list[Path], out: Path, name: str) -> None:
    page.goto(url)
    page.fill("#name", name)
    page.set_input_files("#files", examples)
    page.wait_for_selector(f"#given li:nth-child({len(examples)})")
    keep(page, out / "label-start.jpg")
    page.click("#begin")
    page.wait_for_selector("#grid .tile.chosen", timeout=120_000)
    for number in range(2):
        page.wait_for_timeout(2500)
        for _ in range(page.locator("#grid .tile[data-value='']").count()):
            page.keyboard.press("f" if is_cat(page) else "d")
            page.wait_for_timeout(60)
        page.wait_for_timeout(2500)
        if number == 0:
            page.evaluate("scrollTo(0, 0)")
            keep(page, out / "label-grid.jpg")
        page.keyboard.press("Enter")
        page.wait_for_timeout(2500)
    for key, view in (("2", "pseudo"), ("3", "map"), ("6", "history")):
        page.keyboard.press(key)
        page.wait_for_selector(
            {"pseudo": "#grid-random .tile", "map": "#map", "history": "#events li"}[view], timeout=120_000
        )
        if view == "map":
            page.get_by_text("of 1,084 photos").wait_for(timeout=60_000)
            box = page.locator("#map").bounding_box()
            assert box is not None
            corners = [(0.62, 0.1), (0.98, 0.1), (0.98, 0.6), (0.62, 0.6), (0.62, 0.1)]
            for number, (x, y) in enumerate(corners):
                page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
                if not number:
                    page.mouse.down()
        keep(page, out / f"label-{view}.jpg")
        if view == "map":
            page.mouse.up()


def others(browser: Browser, url: str, out: Path) -> None:
    """Every view as others see it."""
    out.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, dict[str, Any]] = {
        "dark": {"viewport": {"width": 1200, "height": 780}, "color_scheme": "dark"},
        "320": {"viewport": {"width": 320, "height": 640}},
        "200-percent": {"viewport": {"width": 640, "height": 430}, "device_scale_factor": 2},
    }
    for kind, settings in kinds.items():
        page = browser.new_page(**settings)
        page.goto(url)
        page.wait_for_selector("#grid .tile.chosen", timeout=60_000)
        for number, view in enumerate(("label", "pseudo", "map", "positives", "disagreements", "history", "export"), 1):
            page.keyboard.press(str(number))
            page.wait_for_timeout(1500)
            keep(page, out / f"{kind}-{view}.png")
        page.goto(url.partition("/c/")[0])
        page.wait_for_timeout(800)
        keep(page, out / f"{kind}-start.png")
        page.close()


def several(browser: Browser, pools: Path, out: Path) -> None:
    """The list of several pools."""
    command = [sys.executable, "-m", "narrowcast", "mine", "label", "--pools", str(pools), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    page = browser.new_page(viewport={"width": 1200, "height": 420})
    try:
        page.goto(server.stdout.readline().strip())
        page.wait_for_selector("#pools li")
        keep(page, out / "label-pools.jpg")
    finally:
        page.close()
        server.terminate()
        server.wait()


def is_cat(page: Page) -> bool:
    """What a person sees at a glance; the files of this pool say it."""
    return str(page.evaluate("document.activeElement.title")).startswith("chelsea")


def keep(page: Page, path: Path) -> None:
    """A picture, once every photo in sight has arrived."""
    for _ in range(600):
        if page.evaluate(HAS_PHOTOS):
            break
        page.wait_for_timeout(100)
    page.wait_for_timeout(400)
    page.screenshot(path=path, **({"type": "jpeg", "quality": 78} if path.suffix == ".jpg" else {}))


if __name__ == "__main__":
    sys.exit(main())
