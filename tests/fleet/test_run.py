"""Fleets in one process, and on Ray: every frame of every camera once, whoever comes, goes, fails or dies."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.runs import read_reports
from narrowcast.fleet.cameras import Fleet
from narrowcast.fleet.on_ray import on_ray
from narrowcast.fleet.run import OneProcess, run_fleet
from narrowcast.fleet.state import FleetReport, read_state


def alone(out: Path) -> Callable[[Fleet], OneProcess]:
    return lambda fleet: OneProcess(fleet, out)


def drained(reports: Iterator[FleetReport]) -> FleetReport:
    *_, last = reports
    return last


def kinds(out: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def frames(out: Path, name: str) -> list[int]:
    return [report["frame"] for report in read_reports(out / "cameras" / name)]


def test_every_camera_has_its_run(tmp_path: Path, write: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    last = drained(run_fleet(write("a", "b", max_frames=11), out, alone(out), tick_s=0.05))
    assert {camera.name: (camera.status, camera.frames) for camera in last.cameras} == {
        "a": ("finished", 11),
        "b": ("finished", 11),
    }
    for name in ("a", "b"):
        assert frames(out, name) == list(range(11))
        assert (out / "cameras" / name / "report.html").exists()
    assert read_state(out).cameras == last.cameras
    assert kinds(out)[0] == "begun"
    assert kinds(out)[-1] == "ended"
    with pytest.raises(UsageError, match="--resume"):
        next(run_fleet(tmp_path / "cameras.toml", out, alone(out)))


def test_a_budget_is_kept_to(tmp_path: Path, write: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    last = drained(run_fleet(write("a", more="calls_per_s = 1.0"), out, alone(out), tick_s=0.01))
    video_s = 20 / 25
    for camera in last.cameras:
        assert camera.calls <= 2 + 1.0 * video_s  # what may be saved up, and at most the whole budget
        assert camera.refused > 0
        assert frames(out, camera.name) == list(range(20))


@pytest.mark.slow
def test_cameras_come_and_go_while_it_runs(tmp_path: Path, write: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    path = write("a", "b", max_frames=14)
    for number, report in enumerate(run_fleet(path, out, alone(out), tick_s=0.01)):
        if number == 2:
            write("b", "c", max_frames=9)
        names = {camera.name for camera in report.cameras}
    assert names == {"b", "c"}
    assert {"camera removed", "camera stopped"} <= set(kinds(out))
    assert frames(out, "c") == list(range(9))
    gone = frames(out, "a")
    assert gone == list(range(len(gone)))


def test_a_wrong_file_changes_nothing(tmp_path: Path, write: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    path = write("a")
    for number, report in enumerate(run_fleet(path, out, alone(out), tick_s=0.01)):
        if number == 1:
            path.write_text("[fleet", encoding="utf-8")
        last = report
    assert kinds(out).count("file refused") == 1
    assert [camera.status for camera in last.cameras] == ["finished"]


def test_one_camera_that_fails_ends_no_other(tmp_path: Path, write: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    path = write("a", max_frames=12)
    path.write_text(path.read_text(encoding="utf-8") + '[camera.b]\nsource = "nothing.mp4"\n', encoding="utf-8")
    last = drained(run_fleet(path, out, alone(out), tick_s=0.05))
    found = {camera.name: camera for camera in last.cameras}
    assert (found["a"].status, found["b"].status) == ("finished", "failed")
    assert "nothing.mp4" in found["b"].message


def test_a_stopped_fleet_goes_on(tmp_path: Path, write: Callable[..., Path]) -> None:
    out, stop = tmp_path / "out", threading.Event()
    path = write("a")
    for report in run_fleet(path, out, alone(out), tick_s=0.01, should_stop=stop.is_set):
        if any(camera.frames >= 5 for camera in report.cameras):
            stop.set()
        last = report
    assert {camera.status for camera in last.cameras} <= {"stopped", "finished"}
    last = drained(run_fleet(path, out, alone(out), tick_s=0.05, resume=True))
    assert {camera.status for camera in last.cameras} == {"finished"}
    assert frames(out, "a") == list(range(20))


def test_a_fleet_without_cameras_is_none(tmp_path: Path, write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="has no camera"):
        next(run_fleet(write(), tmp_path / "out", alone(tmp_path / "out")))
    with pytest.raises(UsageError, match="no fleet has run here"):
        read_state(tmp_path / "out")


@pytest.mark.slow
def test_killed_actors_are_replaced_and_no_frame_is_lost(tmp_path: Path, write: Callable[..., Path]) -> None:
    import ray

    out, names = tmp_path / "out", ("a", "b", "c", "d")
    path = write(*names)
    made = []

    def workers(fleet: Fleet):
        made.append(on_ray(fleet, out, num_workers=2, num_teachers=1))
        made.append(made[0].__enter__())
        return made[1]

    killed = []
    deadline = time.monotonic() + 120
    try:
        for report in run_fleet(path, out, workers, tick_s=0.1):
            assert time.monotonic() < deadline
            if not killed and any(camera.frames >= 11 for camera in report.cameras):
                killed = [ray.get(made[1].hosts[0].process_id.remote())]
                os.kill(killed[0], signal.SIGKILL)
            last = report
    finally:
        made[0].__exit__(None, None, None)
    assert killed
    assert {camera.status for camera in last.cameras} == {"finished"}
    assert "worker lost" in kinds(out)
    for name in names:
        assert frames(out, name) == list(range(20))
        summary = json.loads((out / "cameras" / name / "summary.json").read_text(encoding="utf-8"))
        assert (summary["status"], summary["frames"]) == ("finished", 20)
