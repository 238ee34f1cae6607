"""A real browser, the command itself as a server of its own, and a pool of drawn photos with something rare in it."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image, ImageDraw

from narrowcast.mine.decode import content_id
from narrowcast.web.label_house import pool_id

NUM, NUM_RARE = 240, 30
EVIL = "<img src=x onerror=alert(1)>.png"
BACKBONE = """
import numpy as np

def colours(images):
    return images.reshape(len(images), 4, 4, 4, 4, 3).mean((2, 4)).reshape(len(images), 48) - 128

colours.size_hw = (16, 16)
"""


def draw(path: Path, rng: np.random.Generator, *, is_rare: bool) -> None:
    """A shape on a background of any colour; the rare ones have a red disc."""
    back = tuple(int(c) for c in rng.integers(60, 230, 3))
    image = Image.new("RGB", (120, 90), back)
    pen, colour = ImageDraw.Draw(image), tuple(int(c) for c in rng.integers(0, 256, 3))
    x, y = rng.integers(25, 40), rng.integers(15, 25)
    if is_rare:
        pen.ellipse((x, y, x + 55, y + 55), fill=(225, 25, 35))
    elif rng.random() < 0.5:
        pen.rectangle((x, y, x + 50, y + 45), fill=(colour[0] // 2, colour[1], colour[2]))
    else:
        pen.polygon([(x, y + 50), (x + 30, y), (x + 60, y + 50)], fill=(colour[0] // 2, colour[1], colour[2]))
    noise = rng.normal(0, 9, (90, 120, 3))
    Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)).save(path)


@dataclass
class Served:
    """A pool, and the labelling page of it as a process."""

    folder: Path
    rare: set[str]
    examples: list[Path]
    port: int
    process: subprocess.Popen[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pool(self) -> str:
        """As addresses call it."""
        return pool_id(self.folder / "pool")

    def start(self, *where: str) -> None:
        where = where or ("--pool", "pool")
        self.process = self._run(["mine", "label", *where, "--port", str(self.port), "--no-browser"])
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{self.url}/\n"

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def _run(self, words: list[str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "narrowcast", *words]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True)

    def index(self) -> None:
        words = ["mine", "index", "photos", "--pool", "pool", "--backbone", "drawn_colours:colours", "--json"]
        process = self._run(words)
        process.communicate()
        assert process.returncode == 0

    def begin(self, name: str, num: int = 3) -> str:
        """A category with some positives of the pool; the page's address."""
        items = sorted(self.rare)[:num]
        self.post(f"/api/p/{self.pool}/categories", {"name": name, "items": items})
        return f"{self.url}/p/{self.pool}/c/{name}"

    def post(self, path: str, values: dict[str, Any]) -> None:
        import json

        headers = {"Content-Type": "application/json", "Origin": self.url}
        urlopen(Request(self.url + path, json.dumps(values).encode(), headers)).read()

    def labels(self, category: str) -> list[tuple[str, str]]:
        """(item, value) of every label event in the log, the first ones given included."""
        with sqlite3.connect(self.folder / "pool" / "labels.sqlite") as log:
            query = "SELECT item, value FROM events WHERE category = ? AND kind = 'label' ORDER BY seq"
            return log.execute(query, [category]).fetchall()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("browser")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    (folder / "elsewhere").mkdir()
    rare = set()
    for ix in range(NUM):
        is_rare = ix < NUM_RARE
        path = folder / "photos" / (EVIL if ix == 0 else f"photo-{ix:03}.png")
        draw(path, rng, is_rare=is_rare)
        if is_rare:
            rare.add(content_id(path.read_bytes()))
    examples = [folder / "elsewhere" / f"example-{ix}.png" for ix in range(5)]
    for path in examples:
        draw(path, rng, is_rare=True)
    (folder / "drawn_colours.py").write_text(BACKBONE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = Path(__file__).resolve().parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    one = Served(folder, rare, examples, port, environment=environment)
    one.index()
    one.start()
    yield one
    assert one.process is not None
    one.process.terminate()
    one.process.communicate(timeout=30)
    assert one.process.returncode == 143


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = os.environ.get("NARROWCAST_CHROMIUM")
    if not path:
        pytest.fail("run it with make test-browser, which finds a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


Open = Callable[..., Any]


@pytest.fixture
def open_page(chromium: Any, served: Served) -> Iterator[Open]:
    """`open_page(path)` is a page that has no error on its console, no dialog and no request to another host."""
    contexts, problems = [], []
    allowed: list[str] = []

    def watch(page: Any) -> None:
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda r: None if r.url.startswith((served.url, "blob:", "data:")) else problems.append(f"request {r.url}"),
        )

    def opened(path: str = "/", *, context: Any = None, **options: Any) -> Any:
        options = {"viewport": {"width": 1280, "height": 860}, **options}
        inside = context or chromium.new_context(**options)
        contexts.append(inside)
        page = inside.new_page()
        page.set_default_timeout(20_000)
        watch(page)
        page.goto(path if path.startswith("http") else served.url + path)
        return page

    opened.allow = allowed.append  # type: ignore[attr-defined] - words of problems that a test causes on purpose
    yield opened
    for context in contexts:
        context.close()
    assert [problem for problem in problems if not any(word in problem for word in allowed)] == []


@pytest.fixture
def shot() -> Callable[[Any, str], None]:
    """`shot(page, name)` keeps a screenshot to look at."""
    folder = Path(__file__).resolve().parents[2] / "build" / "browser"
    folder.mkdir(parents=True, exist_ok=True)

    def keep(page: Any, name: str) -> None:
        page.wait_for_timeout(250)  # thumbnails
        page.screenshot(path=folder / f"{name}.png")

    return keep


def until(page: Any, what: Callable[[], Any], *, seconds: float = 20) -> Any:
    """What `what` gives as soon as it is true. The page's policy forbids playwright's own waiting for functions."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        page.wait_for_timeout(25)
    raise AssertionError(f"not within {seconds} s")
