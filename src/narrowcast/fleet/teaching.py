"""One teacher for many cameras: requests that wait are answered together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import UInt8

from narrowcast.models.teacher import Teacher, TeacherLabels


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """An image that some camera wants labelled."""

    image_rgb: UInt8[np.ndarray, "h w 3"]
    frame_index: int | None


def answer_all(teacher: Teacher, requests: Sequence[Request]) -> list[TeacherLabels]:
    """Labels for each request: those of one size in one call where the teacher has `answer_all`, else one by one."""
    together: Callable[[Sequence[np.ndarray]], list[TeacherLabels]] | None = getattr(teacher, "answer_all", None)
    if together is None:
        return [teacher(request.image_rgb, frame_index=request.frame_index) for request in requests]
    answers: list[TeacherLabels | None] = [None] * len(requests)
    for shape in dict.fromkeys(request.image_rgb.shape for request in requests):
        places = [ix for ix, request in enumerate(requests) if request.image_rgb.shape == shape]
        for ix, answer in zip(places, together([requests[ix].image_rgb for ix in places]), strict=True):
            answers[ix] = answer
    return [answer for answer in answers if answer is not None]


@final
class Batcher:
    """Gathers the requests that come while the teacher works; must live in one event loop.

    `answer` never waits for a batch to fill: what is there when the teacher is free goes together, so that a lonely
    request is answered at once and many at once are cheap.
    """

    def __init__(self, run: Callable[[Sequence[Request]], Awaitable[list[TeacherLabels]]], *, max_batch: int) -> None:
        self._run, self._max_batch = run, max_batch
        self._waiting: list[tuple[Request, asyncio.Future[TeacherLabels]]] = []
        self._worker: asyncio.Task[Any] | None = None
        self.batches: dict[int, int] = {}  # how many of each size there were

    async def answer(self, request: Request) -> TeacherLabels:
        """The teacher's labels of one request."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            self.batches[len(batch)] = self.batches.get(len(batch), 0) + 1
            try:
                answers = await self._run([request for request, _ in batch])
            except Exception as error:  # belongs to those who asked
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), labels in zip(batch, answers, strict=True):
                future.set_result(labels)
