"""A worker: the cameras that one process runs, a thread each, one working at a time."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

import torch

from narrowcast.fleet.camera_run import CameraRun
from narrowcast.fleet.cameras import CameraConfig, Fleet
from narrowcast.fleet.state import CameraState
from narrowcast.fleet.turns import Turns
from narrowcast.models.backbones import load_backbone
from narrowcast.models.teacher import Teacher
from narrowcast.stream.student_zoo import StudentZoo


@final
class CameraHost:
    """Runs the cameras that it is told to keep.

    Cameras take turns, a frame each. One that waits for its teacher gives its turn away, if the teacher is elsewhere;
    live cameras, which wait for frames most of the time, take no turns.

    Args:
        teacher: makes the fleet's teacher; it is given the turns of this host, to give them away while it waits.
    """

    def __init__(self, fleet: Fleet, out: Path, *, teacher: Callable[[Turns], Teacher], worker: int = 0) -> None:
        torch.set_num_threads(fleet.config.num_threads)
        self.fleet, self.out, self.worker = fleet, out, worker
        self._turns = Turns()
        self._expert = teacher(self._turns)
        self._zoo = StudentZoo(Path(fleet.config.zoo), load_backbone) if fleet.config.zoo else None
        self._runs: dict[str, CameraRun] = {}

    def keep(self, cameras: Sequence[CameraConfig], rates: Mapping[str, float]) -> list[CameraState]:
        """Run these cameras and no others, with these rates of teacher calls; where all stand that ever ran here.

        A camera that has ended is not begun again, unless its settings are others now or `forget` was called. One that
        is not wanted any more is told of once after its end.
        """
        wanted = {camera.name: camera for camera in cameras}
        for name, run in self._runs.items():
            if wanted.get(name) != run.camera:
                run.stop()
        for name, camera in wanted.items():
            run = self._runs.get(name)
            if run is None or (run.has_ended and (run.camera != camera or run.status == "stopped")):
                self._begin(camera)
            self._runs[name].purse.rate = rates.get(name, float("inf"))
        states = [run.state() for run in self._runs.values()]
        for name in [name for name, run in self._runs.items() if run.has_ended and name not in wanted]:
            del self._runs[name]
        return states

    def forget(self, name: str) -> None:
        """Let `keep` begin a camera that has ended."""
        if name in self._runs and self._runs[name].has_ended:
            del self._runs[name]

    def _begin(self, camera: CameraConfig) -> None:
        run = CameraRun(camera, self.fleet, self.out, expert=self._expert, zoo=self._zoo, worker=self.worker)
        self._runs[camera.name] = run
        threading.Thread(target=self._play, args=(run,), name=camera.name, daemon=True).start()

    def _play(self, run: CameraRun) -> None:
        while self._step(run):
            pass

    def _step(self, run: CameraRun) -> bool:
        if not run.camera.takes_turns:
            return run.step()
        with self._turns:
            return run.step()
