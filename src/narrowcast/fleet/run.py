"""A fleet from its file to its folder: who runs where, who may ask how often, who came, went, failed and came back."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, final

from narrowcast.core.errors import ConfigError, NarrowcastError, StorageError, UsageError
from narrowcast.core.runtime import pick_device
from narrowcast.fleet.budget import share_calls
from narrowcast.fleet.cameras import CameraConfig, Fleet, changed_for_all, read_fleet
from narrowcast.fleet.host import CameraHost
from narrowcast.fleet.state import STATE, CameraState, FleetReport, write_event, write_state
from narrowcast.fleet.turns import Turns
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.teacher import Teacher

TICK_S = 1.0  # between two looks at everything; ours
RETRY_S = 10.0  # before a live camera that failed is tried again; ours


class Workers(Protocol):
    """Hosts of cameras, here or elsewhere."""

    @property
    def num(self) -> int: ...

    def keep(
        self, cameras: Sequence[Sequence[CameraConfig]], rates: Mapping[str, float]
    ) -> list[list[CameraState] | None]:
        """As `CameraHost.keep`, for each worker its cameras; None where one is lost and may be back."""
        ...

    @property
    def absent(self) -> Collection[int]:
        """Workers that surely run nothing: not there yet, or lost for so long that others take their cameras."""
        ...

    def forget(self, worker: int, name: str) -> None:
        """As `CameraHost.forget`."""
        ...


@final
class OneProcess:
    """One host, in this process."""

    num = 1
    absent = frozenset[int]()

    def __init__(self, fleet: Fleet, out: Path) -> None:
        config = fleet.config
        expert = load_teacher(config.teacher, device=pick_device(config.device), num_threads=config.num_threads)

        def teacher(turns: Turns) -> Teacher:
            return expert

        self._host = CameraHost(fleet, out, teacher=teacher)

    def keep(
        self, cameras: Sequence[Sequence[CameraConfig]], rates: Mapping[str, float]
    ) -> list[list[CameraState] | None]:
        """As of `Workers`."""
        return [self._host.keep(cameras[0], rates)]

    def forget(self, worker: int, name: str) -> None:
        """As of `Workers`."""
        self._host.forget(name)


def run_fleet(
    path: Path,
    out: Path,
    workers: Callable[[Fleet], Workers],
    *,
    resume: bool = False,
    tick_s: float = TICK_S,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[FleetReport]:
    """Run the fleet in the file `path` into `out`; a report a tick, until every camera has ended.

    The file is read again when it changes: cameras that are new in it begin, those that are gone end. What is wrong
    with it then is an event, and the fleet goes on as it was.

    Args:
        workers: makes those who run the cameras.
        resume: whether `out` may hold a fleet already; its cameras go on.

    Raises:
        UsageError: `out` holds a fleet and `resume` is not given.
        ConfigError: the file is wrong when the fleet begins.
        StorageError: `out` cannot be written.
        NarrowcastError: whoever runs the cameras is lost for good; `events.jsonl` says so too.
    """
    if (out / STATE).exists() and not resume:
        raise UsageError(f"{out}: holds a fleet already; use --resume to go on, or another --out")
    fleet = read_fleet(path)
    if not fleet.cameras:
        raise ConfigError(f"{path}: has no camera; add a section [camera.NAME] with a source")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error.strerror}") from error
    crew = _Crew(path, out, fleet, workers(fleet))
    write_event(out, "begun", workers=crew.workers.num, cameras=len(fleet.cameras))
    while True:
        stopping = should_stop()
        began = time.monotonic()
        try:
            report = crew.tick(stopping=stopping)
        except NarrowcastError as error:
            write_event(out, "fleet failed", message=str(error))
            raise
        yield report
        if report.has_ended:
            write_event(out, "ended", stopped=stopping)
            return
        time.sleep(max(0.0, min(tick_s, tick_s - (time.monotonic() - began))))


@dataclass(slots=True)
class _Known:
    """What is remembered of a camera between ticks."""

    worker: int
    state: CameraState
    seen: float  # when it was last running
    retry: float = 0.0  # when to try again; 0: not


@final
class _Crew:
    """The cameras of a fleet, and who runs which."""

    def __init__(self, path: Path, out: Path, fleet: Fleet, workers: Workers) -> None:
        self.path, self.out, self.fleet, self.workers = path, out, fleet, workers
        self._known: dict[str, _Known] = {}
        self._lost: set[int] = set()
        self._stamp = _stamp(path)

    def tick(self, *, stopping: bool) -> FleetReport:
        """Follow the file, divide the teacher, look at all cameras, write down what is new."""
        self._reload()
        wanted = () if stopping else self.fleet.cameras
        for camera in wanted:
            self._place(camera)
        names = {camera.name for camera in wanted}
        plan = [
            [camera for camera in wanted if self._known[camera.name].worker == worker]
            for worker in range(self.workers.num)
        ]
        found = self.workers.keep(plan, self._rates(names))
        for worker, states in enumerate(found):
            if stopping and (states is None or worker in self._lost):
                self._let_go(worker)
            self._note_worker(worker, plan[worker], is_lost=states is None)
            for state in states or []:
                if state.name in self._known and self._known[state.name].worker == worker:
                    self._note(state)
        self._retry(names)
        for name in [name for name in self._known if name not in names and self._known[name].state.has_ended]:
            if not stopping and name not in {camera.name for camera in self.fleet.cameras}:
                del self._known[name]
        report = FleetReport(
            time.time(), tuple(known.state for known in self._known.values()), sum(states is None for states in found)
        )
        write_state(self.out, report)
        if stopping:
            return report
        waits = any(known.retry for known in self._known.values())
        return replace(report, cameras=tuple(_open(state) for state in report.cameras)) if waits else report

    def _note_worker(self, worker: int, cameras: Sequence[CameraConfig], *, is_lost: bool) -> None:
        """Write down who was lost, and who is back."""
        if is_lost and worker not in self._lost:
            write_event(self.out, "worker lost", worker=worker, cameras=[camera.name for camera in cameras])
            self._lost.add(worker)
        elif not is_lost and worker in self._lost:
            write_event(self.out, "worker back", worker=worker)
            self._lost.remove(worker)

    def _let_go(self, worker: int) -> None:
        """Do not wait for the cameras of a worker that is lost, or is back without them: it ends them itself."""
        for known in self._known.values():
            if known.worker == worker and not known.state.has_ended:
                known.state = replace(known.state, status="stopped")

    def _place(self, camera: CameraConfig) -> None:
        """Give a camera that is new, or whose worker is gone, to the one with the fewest."""
        known = self._known.get(camera.name)
        absent = self.workers.absent
        if known is not None and (
            known.state.has_ended or known.worker not in absent or len(absent) == self.workers.num
        ):
            return
        worker = self._least_loaded()
        if known is None:
            self._known[camera.name] = _Known(worker, CameraState(name=camera.name), time.time())
            write_event(self.out, "camera added", camera=camera.name, worker=worker)
        elif worker != known.worker:
            write_event(self.out, "camera moved", camera=camera.name, worker=worker, before=known.worker)
            known.worker = worker

    def _least_loaded(self) -> int:
        """Of the workers that are there, the one with the fewest cameras; where none is, of all."""
        loads = [0] * self.workers.num
        for known in self._known.values():
            loads[known.worker] += not known.state.has_ended
        there = [worker for worker in range(self.workers.num) if worker not in self.workers.absent]
        return min(there or range(self.workers.num), key=lambda worker: loads[worker])

    def _rates(self, names: set[str]) -> dict[str, float]:
        """Teacher calls per second for each camera that runs."""
        running = {name: self._known[name].state for name in names if not self._known[name].state.has_ended}
        config = self.fleet.config
        rates = share_calls(
            [state.need() for state in running.values()], calls_per_s=config.calls_per_s, least_share=config.least_share
        )
        return dict(zip(running, rates, strict=True))

    def _note(self, state: CameraState) -> None:
        """Remember a state, and write down what has happened since the one before."""
        known, now = self._known[state.name], time.time()
        before = known.state
        is_anew = before.status != "running" or (state.begun_at, state.worker) != (before.begun_at, before.worker)
        if state.status == "running" and is_anew:
            if state.begun_at:
                write_event(self.out, "camera resumed", camera=state.name, frame=state.begun_at)
            if self._is_live(state.name) and before.frames:
                away_s = round(now - known.seen, 1)
                write_event(self.out, "gap", camera=state.name, frame=state.begun_at, away_s=away_s)
        if state.has_ended and not before.has_ended:
            write_event(
                self.out, f"camera {state.status}", camera=state.name, frame=state.frames, message=state.message
            )
            if state.status == "failed" and self._is_live(state.name):
                known.retry = now + RETRY_S
        if state.status == "running":
            known.seen = now
        known.state = state

    def _retry(self, names: set[str]) -> None:
        for name in names:
            known = self._known[name]
            if known.retry and time.time() >= known.retry:
                self.workers.forget(known.worker, name)
                known.retry, known.state = 0.0, replace(known.state, status="waiting")

    def _is_live(self, name: str) -> bool:
        return any(camera.name == name and camera.is_live for camera in self.fleet.cameras)

    def _reload(self) -> None:
        """Follow the file; what is wrong with it is an event, once."""
        stamp = _stamp(self.path)
        if stamp in (self._stamp, None):  # a file that is being replaced is missing for a moment
            return
        self._stamp = stamp
        try:
            fleet = read_fleet(self.path)
            changed = changed_for_all(self.fleet, fleet)
            if changed is not None:
                raise ConfigError(f"{self.path}: {changed} cannot change while the fleet runs; end it and begin again")
        except ConfigError as error:
            write_event(self.out, "file refused", message=str(error))
            return
        gone = {camera.name for camera in self.fleet.cameras} - {camera.name for camera in fleet.cameras}
        for name in sorted(gone):
            write_event(self.out, "camera removed", camera=name)
        self.fleet = fleet


def _open(state: CameraState) -> CameraState:
    """A failed camera that is going to be tried again has not ended."""
    return replace(state, status="waiting") if state.status == "failed" else state


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
