"""`narrowcast mine label` without a category serves the page, and ends when it is told to."""

import json
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from narrowcast.web.label_house import pool_id

from .conftest import Cli
from .test_mine_index import INDEX, there  # noqa: F401 - a fixture
from .test_mine_labels import _category  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("there")
POOL = ("--pool", "pool")


def test_the_page_is_served_until_a_signal(cli: Cli, there: Path) -> None:  # noqa: F811
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: list[bytes] = []

    def look() -> None:
        for _ in range(200):
            try:
                seen.append(urlopen(f"http://127.0.0.1:{port}/p/{pool_id(Path('pool'))}/c/red").read())
                break
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    looking = threading.Thread(target=look)
    looking.start()
    answer = cli("mine", "label", *POOL, "--port", str(port), "--no-browser", "--who", "me", "--category", "red")
    looking.join()
    assert answer.code == 143
    assert answer.out == f"http://127.0.0.1:{port}/p/{pool_id(Path('pool'))}/c/red\n"
    assert b'value="me"' in seen[0]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param(["red", "positive", "red-2.png", "--port", "80"], "--port has no effect", id="page option"),
        pytest.param(["--audit"], "--audit has no effect", id="shell option"),
        pytest.param(["--category", "rde"], "no category 'rde'", id="no such category"),
        pytest.param(["--host", "0.0.0.0"], "needs a --token", id="open to others without a token"),
        pytest.param(["red"], "expected positive, negative, unsure or undo", id="no label"),
    ],
)
def test_what_cannot_be_is_one_line(cli: Cli, words: list[str], problem: str) -> None:
    answer = cli("mine", "label", *words, *POOL)
    assert answer.code == 2
    assert problem in answer.error


def test_several_pools_are_served_at_once(cli: Cli, there: Path) -> None:  # noqa: F811
    (there / "pools").mkdir()
    shutil.move(there / "pool", there / "pools" / "birds")
    shutil.copytree(there / "pools" / "birds", there / "fish")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: list[dict[str, Any]] = []

    def look() -> None:
        for _ in range(200):
            try:
                seen.append(json.load(urlopen(f"http://127.0.0.1:{port}/api/pools")))
                break
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    looking = threading.Thread(target=look)
    looking.start()
    answer = cli("mine", "label", "--pools", "pools", "--pool", "fish", "--port", str(port), "--no-browser")
    looking.join()
    assert answer.code == 143
    assert answer.out == f"http://127.0.0.1:{port}/\n"
    assert [(pool["name"], pool["positive"]) for pool in seen[0]["pools"]] == [("birds", 2), ("fish", 2)]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param([], "needs --pool DIR, once for each pool, or --pools FOLDER", id="no pool"),
        pytest.param(["--pools", "photos"], "no pool is in it", id="none in it"),
        pytest.param(["--pools", "pool"], "is a pool itself; use --pool", id="a pool instead of a folder of them"),
        pytest.param(["--pool", "pool", "--pool", "photos"], "photos: is no pool", id="one is none"),
        pytest.param(["red", "positive", "red-2.png"], "expected one --pool, not 0", id="shell without a pool"),
        pytest.param(
            ["red", "positive", "red-2.png", *POOL, "--pool", "other"], "one --pool, not 2", id="shell with two"
        ),
        pytest.param(["red", "positive", "red-2.png", "--pools", "."], "--pools has no effect", id="shell with pools"),
    ],
)
def test_pools_that_cannot_be_are_one_line(cli: Cli, words: list[str], problem: str) -> None:
    answer = cli("mine", "label", *words)
    assert answer.code == 2
    assert problem in answer.error
