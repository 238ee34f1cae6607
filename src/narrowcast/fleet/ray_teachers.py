"""The teachers of a fleet as actors of Ray, and the teacher that cameras see: whichever of them answers."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8

from narrowcast.core.errors import NarrowcastError
from narrowcast.core.runtime import pick_device
from narrowcast.fleet.cameras import FleetConfig
from narrowcast.fleet.teaching import Batcher, Request, answer_all
from narrowcast.fleet.turns import Turns
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.teacher import TeacherLabels

log = logging.getLogger(__name__)
MOMENT_S = 1.0  # between two looks at who answers; ours
DEAF_S = 10.0  # ours: a teacher that returns no greeting for so long is taken for lost
PATIENCE_S = 300.0  # ours: a camera that nobody has taught for so long fails, and says so


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
    """The teachers of a fleet, asked over Ray; whoever has the fewest of our requests gets the next.

    A teacher that dies is replaced by Ray where it finds room, which may be never: what it was asked, another is asked,
    and it is asked again when it has answered a greeting. Ray itself says nothing of a call to an actor that waits for
    room; so one that takes its time is greeted as well, which a teacher at work answers at once.
    """

    def __init__(
        self,
        ray: Any,
        actors: Sequence[Any],
        classes: tuple[str, ...],
        turns: Turns,
        *,
        patience_s: float = PATIENCE_S,
        deaf_s: float = DEAF_S,
    ) -> None:
        self.classes = classes
        self._ray, self._actors, self._turns = ray, list(actors), turns
        self._busy = [0] * len(self._actors)
        self._greetings: dict[int, Any] = {}  # to those who are away
        self._patience_s, self._deaf_s = patience_s, deaf_s

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        began = time.monotonic()
        with self._turns.given_away():
            while (ix := self._chosen()) is None or (told := self._ask(ix, image_rgb, frame_index)) is None:
                if time.monotonic() - began > self._patience_s:
                    raise NarrowcastError(
                        f"no teacher has answered for {self._patience_s:.0f} s: their machines are gone or full;"
                        " fleet run --resume goes on when there is room"
                    )
        boxes = None if told.boxes_xyxy is None else np.array(told.boxes_xyxy)
        return TeacherLabels(np.array(told.labels), boxes)

    def _chosen(self) -> int | None:
        """The least busy of those that are there; None where none is, after a moment."""
        away = dict(self._greetings)  # another camera's thread may change it
        there = [ix for ix in range(len(self._actors)) if ix not in away]
        if away:
            back, _ = self._ray.wait(list(away.values()), timeout=0 if there else MOMENT_S)
            for ix in [ix for ix, greeting in away.items() if greeting in back]:
                self._greetings.pop(ix, None)
                there.append(ix)
        return min(there, key=lambda ix: self._busy[ix], default=None)

    def _ask(self, ix: int, image_rgb: np.ndarray, frame_index: int | None) -> TeacherLabels | None:
        """What teacher `ix` says; None where it is not there."""
        self._busy[ix] += 1
        try:
            # Ray shall not try it again: there may be no room for this very teacher any more
            answer = self._actors[ix].answer.options(max_task_retries=0).remote(image_rgb, frame_index)
            if self._is_coming(ix, answer):
                return self._ray.get(answer)
            log.info("teacher %d is silent", ix)
        except self._ray.exceptions.RayActorError as error:
            log.info("teacher %d is lost: %s", ix, error)
            self._greetings.setdefault(ix, self._actors[ix].classes.remote())
        finally:
            self._busy[ix] -= 1
        return None

    def _is_coming(self, ix: int, answer: Any) -> bool:
        """Wait for an answer as long as its teacher returns greetings; False when it does not."""
        greeting, since = None, 0.0
        while not self._ray.wait([answer], timeout=MOMENT_S)[0]:
            if greeting is None:
                greeting, since = self._actors[ix].classes.remote(), time.monotonic()
            elif self._ray.wait([greeting], timeout=0)[0]:
                greeting = None
            elif time.monotonic() - since > self._deaf_s:
                self._greetings.setdefault(ix, greeting)
                return False
        return True
