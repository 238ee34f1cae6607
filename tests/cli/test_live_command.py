"""`narrowcast stream run --live`."""

import json
import urllib.request
from pathlib import Path

import pytest
import typer

from narrowcast.stream import live_run

from .conftest import NUM, Cli


@pytest.fixture(autouse=True)
def _no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_run, "write_report", lambda path: None)


def test_a_file_live_at_its_own_pace(stream: Cli) -> None:
    answer = stream("--live", "--pace", "--budget", "0.9", "--output", "none", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["status"], found["frames"], found["dropped_frames"]) == ("finished", NUM, 0)
    config = json.loads(Path("run/run.json").read_text())["config"]
    own = {"when_late": "wait", "asks": "free", "is_paced": True, "budget": 0.9, "num_threads": 0, "keep_min": 0.0}
    assert config["live"] == own
    assert config["distill"]["patience"] == 2  # a student is tried sooner


def test_a_method_that_is_named_is_taken(stream: Cli) -> None:
    answer = stream("--live", "--method", "default", "--set", "live.asks=due", "--output", "none")
    assert answer.code == 0, answer.err
    config = json.loads(Path("run/run.json").read_text())["config"]
    assert (config["distill"]["patience"], config["live"]["asks"]) == (16, "due")


MISUSES = [
    pytest.param(["--pace"], "--pace: has no effect without --live", id="pace"),
    pytest.param(["--budget", "1"], "--budget: has no effect without --live", id="budget"),
    pytest.param(["--set", "live.num_threads=1"], "[live]: has no effect without --live", id="recipe"),
    pytest.param(["--live", "--when-late", "drop"], "expected one of wait, drop-oldest, drop-newest", id="policy"),
    pytest.param(["--live", "--when-late", "drop-oldest"], "as fast as the disk; add --pace", id="no pace"),
    pytest.param(["--live", "--budget", "-1"], "expected a number of cores", id="budget out of range"),
    pytest.param(["--live", "--score-every", "5"], "would keep the teacher from teaching", id="scores"),
    pytest.param(
        ["--live", "--set", "live.budget=1"], "budget is an option of the command line", id="option in recipe"
    ),
]


@pytest.mark.parametrize(("words", "message"), MISUSES)
def test_misuse_is_one_line(stream: Cli, words: list[str], message: str) -> None:
    answer = stream(*words)
    assert answer.code == 2
    assert message in answer.error
    assert not Path("run").exists()


def test_a_page_to_watch_it_on(stream: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the run lasts, `/state` counts its frames; the address is on stderr."""
    seen = []

    def look(folder: Path) -> None:
        address = "".join(capture).split("watch it at ")[1].split()[0]
        with urllib.request.urlopen(f"{address}state") as answer:
            seen.append(json.load(answer))

    capture: list[str] = []
    tell = typer.echo
    monkeypatch.setattr(typer, "echo", lambda text, **how: (capture.append(text), tell(text, **how)))
    monkeypatch.setattr(live_run, "write_report", look)
    answer = stream("--live", "--web", "0", "--output", "none")
    assert answer.code == 0, answer.err
    assert "watch it at http://127.0.0.1:" in answer.err
    assert (seen[0]["counts"]["frames"], seen[0]["is_over"]) == (NUM, True)
