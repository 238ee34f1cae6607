"""The screenshots of docs/labelling.md: the labelling page over the pool of make demo-label, as a person would use it.

python examples/demo_screens.py demo/demo.pool demo/examples docs/images --chromium /usr/bin/chromium
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from playwright.sync_api import Page, sync_playwright


def main() -> int:
    """Serve, label, keep the pictures."""
    options = ArgumentParser(description="Screenshots for the documentation")
    options.add_argument("pool", type=Path)
    options.add_argument("examples", type=Path)
    options.add_argument("out", type=Path)
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
            keep(page, out / "label-grid.jpg")
        page.keyboard.press("Enter")
        page.wait_for_timeout(2500)
    for key, view in (("2", "pseudo"), ("3", "map"), ("6", "history")):
        page.keyboard.press(key)
        page.wait_for_timeout(2500)
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


def is_cat(page: Page) -> bool:
    """What a person sees at a glance; the files of this pool say it."""
    return str(page.evaluate("document.activeElement.title")).startswith("chelsea")


def keep(page: Page, path: Path) -> None:
    page.wait_for_timeout(400)
    page.screenshot(path=path, type="jpeg", quality=78)


if __name__ == "__main__":
    sys.exit(main())
