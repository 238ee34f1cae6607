"""Who runs a camera when workers are lost, with workers that only say what they are told."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from narrowcast.fleet.cameras import CameraConfig
from narrowcast.fleet.run import run_fleet
from narrowcast.fleet.state import CameraState


class TwoWorkers:
    """Plays ten frames of each camera a tick; from tick 2 on worker 1 is lost, and at tick `given_up` surely gone."""

    num = 2

    def __init__(self, *, given_up: int) -> None:
        self.tick, self.given_up = 0, given_up
        self.frames: dict[str, int] = {}
        self.where: dict[str, int] = {}
        self.ran: list[list[list[str]]] = []

    @property
    def absent(self) -> frozenset[int]:
        return frozenset({1}) if self.tick >= self.given_up else frozenset()

    def keep(
        self, cameras: Sequence[Sequence[CameraConfig]], rates: Mapping[str, float]
    ) -> list[list[CameraState] | None]:
        self.tick += 1
        self.ran.append([[camera.name for camera in own] for own in cameras])
        return [None if worker and self.tick >= 2 else self._play(worker, own) for worker, own in enumerate(cameras)]

    def forget(self, worker: int, name: str) -> None: ...

    def _play(self, worker: int, own: Sequence[CameraConfig]) -> list[CameraState]:
        gone = [name for name, where in self.where.items() if where == worker and name not in {one.name for one in own}]
        states = [CameraState(name=name, status="stopped", worker=worker) for name in gone]
        for camera in own:
            self.where[camera.name] = worker
            self.frames[camera.name] = self.frames.get(camera.name, 0) + 10
            status = "finished" if self.frames[camera.name] >= 60 else "running"
            frames = self.frames[camera.name]
            states.append(CameraState(name=camera.name, status=status, frames=frames, worker=worker))
        return states


def events(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_cameras_of_a_worker_that_is_given_up_go_to_another(tmp_path: Path, write: Callable[..., Path]) -> None:
    out, workers = tmp_path / "out", TwoWorkers(given_up=4)
    *_, last = run_fleet(write("a", "b", "c", "d"), out, lambda _: workers, tick_s=0.0)
    assert workers.ran[0] == [["a", "c"], ["b", "d"]]
    assert workers.ran[3] == [["a", "c"], ["b", "d"]]  # lost, but it may still run them
    assert workers.ran[4] == [["a", "b", "c", "d"], []]
    assert {camera.status for camera in last.cameras} == {"finished"}
    kinds = [event["kind"] for event in events(out)]
    assert kinds.count("worker lost") == 1
    assert [event["camera"] for event in events(out) if event["kind"] == "camera moved"] == ["b", "d"]


def test_a_fleet_that_is_stopped_waits_for_no_worker_that_is_lost(tmp_path: Path, write: Callable[..., Path]) -> None:
    out, workers = tmp_path / "out", TwoWorkers(given_up=1000)
    reports = run_fleet(write("a", "b"), out, lambda _: workers, tick_s=0.0, should_stop=lambda: workers.tick >= 3)
    *_, last = itertools.islice(reports, 50)
    assert workers.tick < 10
    assert {camera.status for camera in last.cameras} == {"stopped"}
