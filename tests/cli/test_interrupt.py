"""Ctrl-C, SIGTERM, a closed terminal, kill -9: ends without loss, and runs that go on where they ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.core.runs import read_reports
from narrowcast.models.student import load_student
from narrowcast.video.source import open_source

from .conftest import Cli, write_clip

NUM, SIGNALLED_AFTER = 64, 24
WORDS = ("--student", "jitnet", "--size", "64x48", "--device", "cpu", "--out", "run", "--output", "overlay")
WORDS += ("--output", "rle", "--set", "run.checkpoint_every=20", "--teacher", "cli_teachers:slow")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_for_an_end(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with stop_on_signal("this frame") as stop:
        assert not stop.is_asked
        stop.exit()
        signal.raise_signal(number)
        assert stop.is_asked
        with pytest.raises(typer.Exit) as ending:
            stop.exit()
    assert ending.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    assert "ending after this frame" in capfd.readouterr().err


def test_a_second_ctrl_c_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signal("this frame"):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # is patient
        signal.raise_signal(signal.SIGINT)


def test_what_is_ignored_stays_ignored() -> None:
    """`nohup narrowcast …` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal("this frame") as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_asked
    finally:
        signal.signal(signal.SIGHUP, before)


def num_reports() -> int:
    return len(list(read_reports(Path("run"))))


def signalled(number: int, teachers: Path) -> tuple[int, str]:
    """A run in a process of its own that gets this signal in the middle: its exit code and its stdout."""
    command = [sys.executable, "-m", "narrowcast", "stream", "run", "long.mp4", *WORDS]
    environment = os.environ | {"PYTHONPATH": str(teachers), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while num_reports() < SIGNALLED_AFTER and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        before = num_reports()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert before < NUM, err
    assert num_reports() <= before + 3  # it ends within a frame (and a frame or two pass until the signal is there)
    assert "Traceback" not in err
    return process.returncode, out


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_gets_a_signal_goes_on_as_if_nothing_had_been(
    cli: Cli, here: Path, teachers: Path, number: int
) -> None:
    write_clip(here / "long.mp4", num_frames=NUM)
    code, out = signalled(number, teachers)
    num_kept = num_reports()
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        assert not Path("run/summary.json").exists()
    else:
        assert code == 128 + number
        assert out.startswith(f"interrupted: {num_kept} frames")
        assert json.loads(Path("run/summary.json").read_text())["status"] == "interrupted"
        assert len(list(open_source("run/labelled.mp4"))) == num_kept
        assert load_student(Path("run/student.safetensors"))
    assert cli("stream", "run", "long.mp4", *WORDS, "--resume").out.startswith(f"finished: {NUM} frames")
    assert [report["frame"] for report in read_reports(Path("run"))] == list(range(NUM))
    lines = Path("run/labels.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(NUM))
    with open_source("run/labelled.mp4") as labelled, open_source("long.mp4") as source:
        assert [frame.time_s for frame in labelled] == [frame.time_s for frame in source]


@pytest.mark.slow
def test_two_processes_do_not_write_one_folder(cli: Cli, here: Path, teachers: Path) -> None:
    write_clip(here / "long.mp4", num_frames=NUM)
    command = [sys.executable, "-m", "narrowcast", "stream", "run", "long.mp4", *WORDS]
    environment = os.environ | {"PYTHONPATH": str(teachers), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while num_reports() < 3 and process.poll() is None:
            time.sleep(0.01)
        answer = cli("stream", "run", "long.mp4", *WORDS, "--resume")
        process.communicate(timeout=60)
    assert (answer.code, answer.error) == (2, "run: another process is writing this run")
    assert process.returncode == 0
    assert num_reports() == NUM
