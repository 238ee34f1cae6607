"""What all commands share: help, one line for an error, exit codes, pipes that close."""

import errno
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from narrowcast import __version__
from narrowcast.cli import _run, app
from narrowcast.core.errors import NarrowcastError, UsageError

from .conftest import Cli

RUN = ("stream", "run", "a.mp4", "--teacher", "embedded", "--out", "out")


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(_run, "run", run)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["stream", "--help"], ["stream", "run", "-h"], ["zoo", "-h"]])
def test_help_goes_to_stdout(cli: Cli, words: list[str]) -> None:
    answer = cli(*words)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Usage: narrowcast")
    assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize("words", [[], ["stream"]])
def test_half_a_command_is_answered_with_help(cli: Cli, words: list[str]) -> None:
    answer = cli(*words)
    assert (answer.code, answer.out) == (2, "")
    assert "Commands:" in answer.err


def test_every_command_has_an_example_in_its_help() -> None:
    group: Any = typer.main.get_command(app.app)
    commands = [*group.commands["stream"].commands.values(), group.commands["zoo"]]
    assert [command.name for command in commands if "Example: narrowcast " not in (command.help or "")] == []


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"narrowcast {__version__}\n"


def test_it_can_be_run_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "narrowcast", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"narrowcast {__version__}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["strem"], "No such command 'strem'. Did you mean 'stream'? (see narrowcast --help)"),
        (["zoo", "--jso"], "No such option: --jso"),
        (["zoo", "more"], "unexpected extra argument"),
        (["stream", "run"], "Missing argument 'source'. (see narrowcast stream run --help)"),
        (["stream", "run", "a.mp4", "--teacher", "embedded"], "Missing option '--out'."),
        ([*RUN, "--accuracy", "high"], "'--accuracy'"),
        ([*RUN, "--max-frames", "1.5"], "'--max-frames'"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(cli: Cli, words: list[str], message: str) -> None:
    """The parser printed its usage, a hint and an empty line before the error."""
    answer = cli(*words)
    assert answer.code == 2
    assert message in answer.error
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        pytest.param(NarrowcastError("a.mp4: gone"), 1, "a.mp4: gone", id="failed"),
        pytest.param(UsageError("--x: no"), 2, "--x: no", id="misused"),
        pytest.param(NarrowcastError("two\n  lines"), 1, "two lines", id="always one line"),
        pytest.param(OSError(errno.ENAMETOOLONG, "File name too long", "aaa"), 1, "aaa: File name too long", id="file"),
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device"), 1, "standard output: No space left", id="full stdout"
        ),
        pytest.param(MemoryError(), 1, "out of memory; a smaller --size needs less", id="memory"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, line: str
) -> None:
    fail_with(monkeypatch, error)
    answer = cli(*RUN)
    assert answer.code == code
    assert answer.error.startswith(line)


def test_debug_shows_where_an_error_came_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, UsageError("--x: no"))
    answer = cli("--debug", *RUN)
    assert answer.code == 2
    assert "Traceback (most recent call last):" in answer.err
    assert answer.err.endswith("Error: --x: no\n")


def test_a_mistake_of_ours_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("ours"))
    monkeypatch.setattr(sys, "argv", ["narrowcast", *RUN])
    with pytest.raises(ZeroDivisionError):
        app.main()


def test_ctrl_c_before_a_run_has_begun_is_silent(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    answer = cli(*RUN)
    assert (answer.code, answer.out, answer.err) == (130, "", "")


def test_a_reader_that_leaves_is_no_error() -> None:
    """`narrowcast … | head -1`."""
    command = [sys.executable, "-m", "narrowcast", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
