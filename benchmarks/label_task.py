"""The whole task in the labelling page, as a new user does it: from a folder to found photos, in seconds and keys.

make demo-label  # once, for its photos; then
python benchmarks/label_task.py --photos demo/photos --examples demo/examples
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
from playwright.sync_api import Page, sync_playwright

from narrowcast.mine.pool import Pool

MOST_SHEETS = 40
COMMAND = [sys.executable, "-m", "narrowcast", "mine"]


def main() -> int:
    """Index, label in a browser, export; write the result."""
    options = record.parser(__doc__)
    options.add_argument("--photos", type=Path, required=True, help="the folder")
    options.add_argument("--examples", type=Path, required=True, help="photos from outside that show what is rare")
    options.add_argument("--rare", default="chelsea", help="how the files of what is rare begin: what a person sees")
    options.add_argument("--find", type=int, default=20, help="photos to find")
    options.add_argument("--pool", type=Path, help="keep the pool here, and use it where it is: indexing is not timed")
    options.add_argument("--features", type=Path, help="keep the features here (.npz), for the same task elsewhere")
    options.add_argument("--chromium", default=os.environ.get("NARROWCAST_CHROMIUM", "/usr/bin/chromium"))
    arguments = options.parse_args()
    device = record.prepare(arguments)
    num_rare = len(list(arguments.photos.glob(f"{arguments.rare}*")))
    find = min(arguments.find, 3 if arguments.quick else num_rare)
    with tempfile.TemporaryDirectory() as temporary:
        pool = arguments.pool or Path(temporary) / "pool"
        index_s = None if pool.exists() else timed(lambda: index(arguments.photos, pool, arguments.threads))[0]
        found = label(pool, arguments, find)
        if arguments.features:
            keep_features(pool, arguments.features)
    result = {"photos": len(list(arguments.photos.iterdir())), "rare": num_rare, "index_s": index_s, **found}
    record.write(arguments.out, "label-task", result, device=device)
    kinds = [name for name, value in found.items() if isinstance(value, dict)]
    print(record.table(["", *kinds], [[what, *(found[kind][what] for kind in kinds)] for what in found[kinds[0]]]))
    return 0


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    found = what()
    return round(time.perf_counter() - began, 2), found


def environment(threads: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(record.REPOSITORY / "src")}


def index(photos: Path, pool: Path, threads: int) -> None:
    command = [*COMMAND, "index", str(photos), "--pool", str(pool), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(threads))


def keep_features(pool: Path, out: Path) -> None:
    opened = Pool.open(pool)
    np.savez(out, paths=np.array(opened.paths()), features=opened.features())


def label(pool: Path, arguments: Any, find: int) -> dict[str, Any]:
    """The part in the browser."""
    command = [*COMMAND, "label", "--pool", str(pool), "--no-browser"]
    began, found = time.perf_counter(), {}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(arguments.threads))
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(url)
            start_s, examples = round(time.perf_counter() - began, 2), sorted(arguments.examples.iterdir())
            for kind, name, say in (("keys", "one", Person.one_by_one), ("exceptions", "two", Person.exceptions)):
                page.goto(url)
                found[kind] = Person(page, arguments.rare).work(name, examples, find, say)
            browser.close()
    finally:
        server.terminate()
        server.communicate(timeout=60)
    return {"start_s": start_s, **found}


class Person:
    """Somebody who looks at each photo and knows what is rare; counts what the hands do."""

    def __init__(self, page: Page, rare: str) -> None:
        self._page, self._rare, self.keys, self.clicks = page, rare, 0, 0

    def work(self, name: str, examples: list[Path], find: int, say: Callable[["Person"], int]) -> dict[str, Any]:
        """Begin a category, label until `find` photos are found, take the labels home.

        Args:
            say: labels a sheet; how many photos that were.
        """
        page, waits, looked = self._page, [], 0
        self.click("#name")
        self.type(name)
        page.set_input_files("#files", examples)  # one drop
        page.wait_for_selector(f"#given li:nth-child({len(examples)})")
        self.clicks += 1
        began = time.perf_counter()
        self.press("Enter")
        page.wait_for_selector("#grid .tile.chosen", timeout=300_000)
        waits.append(time.perf_counter() - began)
        for _ in range(MOST_SHEETS):
            looked += say(self)
            if self.num_found(len(examples)) >= find:
                break
            before = page.get_attribute("#grid .tile", "data-item")
            began = time.perf_counter()
            self.press("Enter")
            while page.get_attribute("#grid .tile", "data-item") == before:
                page.wait_for_timeout(5)
            waits.append(time.perf_counter() - began)
        counted = {"found": self.num_found(len(examples)), "looked_at": looked, "sheets": len(waits)}
        self.press("7")
        with page.expect_download() as waiting:
            self.click("#download")
        waiting.value.path()
        return {
            **counted,
            "keys": self.keys,
            "clicks": self.clicks,
            "first_sheet_s": round(waits[0], 2),
            "next_sheet_s_worst": round(max(waits[1:]), 2) if len(waits) > 1 else None,
        }

    def one_by_one(self) -> int:
        """A key for each photo."""
        num = self._page.locator("#grid .tile[data-value='']").count()
        for _ in range(num):
            is_rare = str(self._page.evaluate("document.activeElement.title")).startswith(self._rare)
            self.press("f" if is_rare else "d")
        return num

    def exceptions(self) -> int:
        """A click for each photo of the smaller kind, and one key for the rest."""
        tiles = self._page.locator("#grid .tile[data-value='']").all()
        is_rare = [(tile.locator(".photo").get_attribute("title") or "").startswith(self._rare) for tile in tiles]
        mostly = 2 * sum(is_rare) > len(tiles)
        items = [tile.get_attribute("data-item") for tile in tiles]
        for item, rare in zip(items, is_rare, strict=True):
            if rare != mostly:
                self.click(f"#grid .tile[data-item='{item}'] .marks .{'yes' if rare else 'no'}")
        self.press("Shift+F" if mostly else "Shift+D")
        return len(tiles)

    def num_found(self, num_given: int) -> int:
        """Positives that the page counts, once everything is saved; stacks count with all their photos."""
        while self._page.locator(".tile.pending").count() or "saving" in self._page.inner_text("#saved"):
            self._page.wait_for_timeout(20)
        self._page.wait_for_timeout(100)
        return int(self._page.inner_text("#num-positive").replace(",", "")) - num_given

    def press(self, key: str) -> None:
        self._page.keyboard.press(key)
        self.keys += 1

    def type(self, text: str) -> None:
        self._page.keyboard.type(text)
        self.keys += len(text)

    def click(self, selector: str) -> None:
        self._page.click(selector)
        self.clicks += 1


if __name__ == "__main__":
    record.main(main)
