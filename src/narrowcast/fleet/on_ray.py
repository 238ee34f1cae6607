"""The workers of a fleet as actors of Ray: replaced when they die; where Ray cannot, others take their cameras."""

import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from narrowcast.core.errors import NarrowcastError
from narrowcast.fleet.cameras import CameraConfig, Fleet
from narrowcast.fleet.host import CameraHost
from narrowcast.fleet.lease import LEASE_S, Contact, Lease
from narrowcast.fleet.ray_session import Head, HeadLostError, connected
from narrowcast.fleet.ray_teachers import DistantTeacher, TeacherActor
from narrowcast.fleet.state import CameraState
from narrowcast.fleet.turns import Turns

log = logging.getLogger(__name__)
START_S = 300.0  # for the first teacher to load, and for the workers to be there; who is not then may come later
LOOK_S = 2.0  # for which answers of workers are waited for at each tick
SILENT_S = 20.0  # a worker that answers nothing for so long is lost; less than a lease
MANY = 1000  # requests that a teacher may have before it


class HostActor:
    """A `CameraHost` in a process of its own, which ends its cameras when it hears nothing any more."""

    def __init__(
        self, fleet: Fleet, out: str, teachers: Sequence[str], classes: tuple[str, ...], worker: int, lease_s: float
    ) -> None:
        import ray  # whoever runs this has it

        actors = [ray.get_actor(name) for name in teachers]

        def teacher(turns: Turns) -> DistantTeacher:
            return DistantTeacher(ray, actors, classes, turns)

        self._host = CameraHost(fleet, Path(out), teacher=teacher, worker=worker)
        self._lease, self._lock = Lease(lease_s), threading.Lock()
        threading.Thread(target=self._watch, name="lease", daemon=True).start()

    def keep(self, cameras: Sequence[CameraConfig], rates: Mapping[str, float], turn: int) -> list[CameraState] | None:
        """As of `CameraHost`; None where the lease has run out and the call is of before that."""
        with self._lock:
            return self._host.keep(cameras, rates) if self._lease.renew(turn) else None

    def forget(self, name: str) -> None:
        """As of `CameraHost`."""
        with self._lock:
            self._host.forget(name)

    def process_id(self) -> int:
        """Of this process, on its machine."""
        return os.getpid()

    def _watch(self) -> None:
        while True:
            time.sleep(1.0)
            with self._lock:
                if self._lease.has_run_out:
                    self._host.keep([], {})


@final
class RayWorkers:
    """Actors with cameras, and actors with teachers, placed by Ray, on different machines where there are some."""

    def __init__(
        self, ray: Any, fleet: Fleet, out: Path, *, num_workers: int, num_teachers: int, lease_s: float = LEASE_S
    ) -> None:
        self._ray, self.num, config = ray, num_workers, fleet.config
        self._head = Head(ray.get_runtime_context().gcs_address)
        spread = {"max_restarts": -1, "scheduling_strategy": "SPREAD", "num_cpus": 1}
        teacher = ray.remote(num_gpus=config.gpus_per_teacher, max_task_retries=-1, max_concurrency=MANY, **spread)(
            TeacherActor
        )
        # found by name, not by handle: handles would have to outlive the first process to make another from
        names = [f"teacher-{ix}-{uuid.uuid4().hex}" for ix in range(num_teachers)]
        self.teachers = [teacher.options(name=name).remote(config) for name in names]
        host = ray.remote(num_gpus=config.gpus_per_worker, max_task_retries=0, **spread)(HostActor)
        classes = self._first_answer([teacher.classes.remote() for teacher in self.teachers])
        self.hosts = [
            host.remote(fleet, str(out.absolute()), names, classes, worker, lease_s) for worker in range(num_workers)
        ]
        self._contacts = [Contact(lease_s) for _ in self.hosts]
        self._silent_s = SILENT_S * lease_s / LEASE_S
        # a call to each that has not come back: what it was, the call, and since when
        self._out: list[tuple[str, Any, float] | None] = [None] * num_workers
        self._first_answer([self._greet(worker) for worker in range(num_workers)])

    @property
    def absent(self) -> frozenset[int]:
        """As of `run.Workers`."""
        return frozenset(worker for worker, contact in enumerate(self._contacts) if contact.is_given_up)

    def keep(
        self, cameras: Sequence[Sequence[CameraConfig]], rates: Mapping[str, float]
    ) -> list[list[CameraState] | None]:
        """As of `run.Workers`. Nobody is waited for longer than a moment; who is lost is only greeted.

        Raises:
            HeadLostError: Ray can place nothing any more.
        """
        self._head.check()
        for worker, host in enumerate(self.hosts):
            if self._out[worker] is not None:
                continue
            contact = self._contacts[worker]
            if contact.is_there:
                call = host.keep.remote(list(cameras[worker]), dict(rates), contact.call())
                self._out[worker] = ("keep", call, time.monotonic())
            else:
                self._greet(worker)
        there = [asked[1] for asked, one in zip(self._out, self._contacts, strict=True) if asked and one.is_there]
        if there:
            self._ray.wait(there, num_returns=len(there), timeout=LOOK_S)
        return [self._answer(worker) for worker in range(self.num)]

    def forget(self, worker: int, name: str) -> None:
        """As of `run.Workers`."""
        self.hosts[worker].forget.remote(name)

    def end(self) -> None:
        """End all actors."""
        for actor in [*self.hosts, *self.teachers]:
            self._ray.kill(actor)

    def _greet(self, worker: int) -> Any:
        call = self.hosts[worker].process_id.remote()
        self._out[worker] = ("greeting", call, time.monotonic())
        return call

    def _answer(self, worker: int) -> list[CameraState] | None:
        """What a worker says: states, nothing new, or None where it is lost."""
        asked, contact = self._out[worker], self._contacts[worker]
        assert asked is not None
        kind, call, since = asked
        if not self._ray.wait([call], timeout=0)[0]:
            if contact.is_there and time.monotonic() - since > self._silent_s:
                contact.lost()
            return [] if contact.is_there else None
        self._out[worker] = None
        try:
            found = self._ray.get(call)
        except self._ray.exceptions.RayActorError as error:
            log.info("worker %d does not answer: %s", worker, error)
            found = None
        if found is None:
            contact.lost()
            return None
        contact.answered()
        return found if kind == "keep" else []

    def _first_answer(self, calls: list[Any]) -> Any:
        """What the first of several says, all of which have some time to be there.

        Raises:
            NarrowcastError: none could begin; or none in time: Ray has no room.
        """
        ready, _ = self._ray.wait(calls, num_returns=len(calls), timeout=START_S)
        if not ready:
            room = self._ray.cluster_resources().get("CPU", 0)
            raise NarrowcastError(
                f"no actor has begun within {START_S:.0f} s: Ray has {room:.0f} cores in all, and each worker and"
                " each teacher asks for one; use fewer, or begin when there is room"
            )
        try:
            return self._ray.get(ready[0])
        except self._ray.exceptions.RayActorError as error:
            last = re.sub(r"^[\w.]+Error: ", "", str(error).strip().splitlines()[-1])
            raise NarrowcastError(f"an actor of the fleet could not begin: {last}") from error


@contextmanager
def on_ray(
    fleet: Fleet,
    out: Path,
    *,
    num_workers: int,
    num_teachers: int,
    address: str | None = None,
    lease_s: float = LEASE_S,
) -> Iterator[RayWorkers]:
    """Workers and teachers on Ray while the block runs.

    Args:
        lease_s: for so long a worker that hears nothing runs its cameras; half as long again later others take them.

    Raises:
        DependencyError: Ray is not installed.
        UsageError: there is no Ray at `address`.
        NarrowcastError: no teacher could begin.
        HeadLostError: from the block, where the head of Ray is lost.
    """
    with connected(address, num_cpus=num_workers + num_teachers) as ray:
        workers = RayWorkers(ray, fleet, out, num_workers=num_workers, num_teachers=num_teachers, lease_s=lease_s)
        try:
            yield workers
        except HeadLostError:
            raise  # nobody is left who could end them; they end by themselves
        except BaseException:
            workers.end()
            raise
        workers.end()
