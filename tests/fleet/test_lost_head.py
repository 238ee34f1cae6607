"""The head of Ray that dies: the fleet ends with one line, and every student goes on from its folder."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from narrowcast.core.runs import read_reports
from narrowcast.fleet.cameras import Fleet
from narrowcast.fleet.ray_session import Head, HeadLostError, draw_token
from narrowcast.fleet.run import OneProcess, run_fleet
from narrowcast.fleet.state import CameraState
from narrowcast.video.synth import moving_shapes
from narrowcast.video.writer import VideoWriter

NUM = 240


def test_a_head_is_lost_when_it_takes_no_connection_for_a_while() -> None:
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        head = Head(f"localhost:{port}", lost_s=0.05)
        head.check()
    Head(f"localhost:{port}", lost_s=60.0).check()  # a moment without it is none
    time.sleep(0.06)
    with pytest.raises(HeadLostError, match=rf"localhost:{port} is gone.*--resume goes on"):
        head.check()


class NoWorkers:
    """Two workers that are away; the third look finds the head gone."""

    num, absent = 2, frozenset({0, 1})

    def __init__(self) -> None:
        self.looks = 0

    def keep(self, cameras: Any, rates: Any) -> list[list[CameraState] | None]:
        self.looks += 1
        if self.looks == 3:
            raise HeadLostError("the head is gone")
        return [None, None]

    def forget(self, worker: int, name: str) -> None: ...


def test_what_ends_a_fleet_is_an_event_and_nobody_is_moved_to_workers_that_are_away(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Cameras went to and fro once a second between workers that were all gone."""
    with pytest.raises(HeadLostError):
        for _ in run_fleet(write("a", "b"), tmp_path / "out", lambda fleet: NoWorkers(), tick_s=0.0):
            pass
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text("utf-8").splitlines()]
    assert "camera moved" not in {event["kind"] for event in events}
    assert (events[-1]["kind"], events[-1]["message"]) == ("fleet failed", "the head is gone")


@pytest.mark.slow
def test_students_go_on_from_their_folders_when_the_head_is_lost(
    tmp_path: Path, write: Callable[..., Path], clip: Path
) -> None:
    draw_token()
    from ray.cluster_utils import Cluster

    source, out = tmp_path / "long.mp4", tmp_path / "out"
    with VideoWriter(source, fps=Fraction(25)) as video:
        for frame, _ in moving_shapes(num_frames=NUM, size_wh=(64, 48), num_classes=4, fps=Fraction(25)):
            video.write(frame.image_rgb, frame.time_s)
    path = write("a", "b", source=source)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 4, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    command = [sys.executable, "-m", "narrowcast", "fleet", "run", str(path), "--out", str(out), "--workers", "2"]
    try:
        with subprocess.Popen([*command, "--address", cluster.address], stderr=subprocess.PIPE, text=True) as fleet:
            deadline = time.monotonic() + 120
            while any(len(frames(out, name)) < 12 for name in ("a", "b")):  # a checkpoint is there
                assert time.monotonic() < deadline
                assert fleet.poll() is None
                time.sleep(0.05)
            cluster.remove_node(cluster.head_node, allow_graceful=False)  # with all that ran on it
            _, said = fleet.communicate(timeout=120)
    finally:
        cluster.shutdown()
    assert fleet.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("Error: the head of Ray at")
    begun: dict[str, int] = {}

    def workers(config: Fleet) -> OneProcess:
        return OneProcess(config, out)

    for report in run_fleet(path, out, workers, resume=True, tick_s=0.1):
        begun |= {camera.name: camera.begun_at for camera in report.cameras}
        last = report
    assert {camera.status for camera in last.cameras} == {"finished"}
    assert min(begun.values()) >= 10
    assert all(frames(out, name) == list(range(NUM)) for name in ("a", "b"))


def frames(out: Path, name: str) -> list[int]:
    folder = out / "cameras" / name
    return [report["frame"] for report in read_reports(folder)] if (folder / "reports.jsonl").exists() else []
