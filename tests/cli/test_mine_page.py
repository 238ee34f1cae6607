"""`narrowcast mine label` without a category serves the page, and ends when it is told to."""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

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
                seen.append(urlopen(f"http://127.0.0.1:{port}/c/red").read())
                break
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    looking = threading.Thread(target=look)
    looking.start()
    answer = cli("mine", "label", *POOL, "--port", str(port), "--no-browser", "--who", "me", "--category", "red")
    looking.join()
    assert answer.code == 143
    assert answer.out == f"http://127.0.0.1:{port}/c/red\n"
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
