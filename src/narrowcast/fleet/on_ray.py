"""The actors of a fleet on Ray: workers with cameras, and teachers; each is replaced by Ray when it dies."""

import asyncio
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8

from narrowcast.core.runtime import pick_device
from narrowcast.fleet.cameras import CameraConfig, Fleet, FleetConfig
from narrowcast.fleet.host import CameraHost
from narrowcast.fleet.ray_session import connected
from narrowcast.fleet.state import CameraState
from narrowcast.fleet.teaching import Batcher, Request, answer_all
from narrowcast.fleet.turns import Turns
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.teacher import TeacherLabels

log = logging.getLogger(__name__)
ANSWER_S = 60.0  # a worker that says nothing for so long is told again, not waited for
MANY = 1000  # requests that a teacher may have before it


class TeacherActor:
    """The teacher of a fleet in a process of its own; requests that wait are answered together."""

    def __init__(self, config: FleetConfig) -> None:
        torch.set_num_threads(config.num_threads)
        self._teacher = load_teacher(config.teacher, device=pick_device(config.device), num_threads=config.num_threads)
        self._batcher = Batcher(self._answer_all, max_batch=config.max_batch)

    async def classes(self) -> tuple[str, ...]:
        """The teacher's."""
        return tuple(self._teacher.classes)

    async def answer(self, image_rgb: np.ndarray, frame_index: int | None) -> TeacherLabels:
        """Labels of one image."""
        # a copy: what comes out of Ray's store may not be written to, which torch refuses
        return await self._batcher.answer(Request(np.array(image_rgb), frame_index))

    async def batches(self) -> dict[int, int]:
        """How many batches of each size there were."""
        return self._batcher.batches

    async def _answer_all(self, requests: Sequence[Request]) -> list[TeacherLabels]:
        return await asyncio.to_thread(answer_all, self._teacher, requests)


@final
class DistantTeacher:
    """The teachers of a fleet, asked over Ray; whoever has the fewest of our requests gets the next."""

    def __init__(self, ray: Any, actors: Sequence[Any], classes: tuple[str, ...], turns: Turns) -> None:
        self.classes = classes
        self._ray, self._actors, self._turns = ray, list(actors), turns
        self._busy = [0] * len(self._actors)

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        ix = self._busy.index(min(self._busy))
        self._busy[ix] += 1
        try:
            answer = self._actors[ix].answer.remote(image_rgb, frame_index)
            with self._turns.given_away():
                told: TeacherLabels = self._ray.get(answer)
        finally:
            self._busy[ix] -= 1
        boxes = None if told.boxes_xyxy is None else np.array(told.boxes_xyxy)
        return TeacherLabels(np.array(told.labels), boxes)


class HostActor:
    """A `CameraHost` in a process of its own."""

    def __init__(self, fleet: Fleet, out: str, teachers: Sequence[str], classes: tuple[str, ...], worker: int) -> None:
        import ray  # whoever runs this has it

        actors = [ray.get_actor(name) for name in teachers]

        def teacher(turns: Turns) -> DistantTeacher:
            return DistantTeacher(ray, actors, classes, turns)

        self._host = CameraHost(fleet, Path(out), teacher=teacher, worker=worker)

    def keep(self, cameras: Sequence[CameraConfig], rates: Mapping[str, float]) -> list[CameraState]:
        """As of `CameraHost`."""
        return self._host.keep(cameras, rates)

    def forget(self, name: str) -> None:
        """As of `CameraHost`."""
        self._host.forget(name)

    def process_id(self) -> int:
        """Of this process, on its machine."""
        return os.getpid()


@final
class RayWorkers:
    """Actors with cameras, and actors with teachers, placed by Ray."""

    def __init__(self, ray: Any, fleet: Fleet, out: Path, *, num_workers: int, num_teachers: int) -> None:
        self._ray, self.num, config = ray, num_workers, fleet.config
        teacher = ray.remote(
            num_cpus=1, num_gpus=config.gpus_per_teacher, max_restarts=-1, max_task_retries=-1, max_concurrency=MANY
        )(TeacherActor)
        # found by name, not by handle: handles would have to outlive the first process to make another from
        names = [f"teacher-{ix}-{uuid.uuid4().hex}" for ix in range(num_teachers)]
        self.teachers = [teacher.options(name=name).remote(config) for name in names]
        classes = ray.get(self.teachers[0].classes.remote())
        host = ray.remote(num_cpus=1, num_gpus=config.gpus_per_worker, max_restarts=-1, max_task_retries=0)(HostActor)
        self.hosts = [host.remote(fleet, str(out.absolute()), names, classes, worker) for worker in range(num_workers)]

    def keep(
        self, cameras: Sequence[Sequence[CameraConfig]], rates: Mapping[str, float]
    ) -> list[list[CameraState] | None]:
        """As of `run.Workers`: a worker that has died is None once, and empty when Ray has replaced it."""
        asked = [host.keep.remote(list(own), dict(rates)) for host, own in zip(self.hosts, cameras, strict=True)]
        return [self._result(reference) for reference in asked]

    def forget(self, worker: int, name: str) -> None:
        """As of `run.Workers`."""
        self._result(self.hosts[worker].forget.remote(name))

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference, timeout=ANSWER_S)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError) as error:
            log.info("a worker does not answer: %s", error)
            return None


@contextmanager
def on_ray(
    fleet: Fleet, out: Path, *, num_workers: int, num_teachers: int, address: str | None = None
) -> Iterator[RayWorkers]:
    """Workers and teachers on Ray while the block runs.

    Raises:
        DependencyError: Ray is not installed.
        UsageError: there is no Ray at `address`.
    """
    with connected(address, num_cpus=num_workers + num_teachers) as ray:
        workers = RayWorkers(ray, fleet, out, num_workers=num_workers, num_teachers=num_teachers)
        try:
            yield workers
        finally:
            for actor in [*workers.hosts, *workers.teachers]:
                ray.kill(actor)
