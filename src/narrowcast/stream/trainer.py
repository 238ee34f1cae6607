"""The teacher and the updates of a live stream, in a thread beside it that gives way; one question at a time."""

import copy
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from narrowcast.core.frames import Frame
from narrowcast.models.folded import Folded
from narrowcast.models.student import AnyStudent
from narrowcast.stream.allowance import Allowance, give_way
from narrowcast.stream.distill import Distiller
from narrowcast.stream.learner import Learner, Sample
from narrowcast.stream.recall import Visit
from narrowcast.stream.targets import targets


@dataclass(frozen=True, slots=True)
class Question:
    """A frame that the teacher is asked about.

    Attributes:
        image_rgb, prior, prediction: at the student's size: what it saw, what it was told, and what was put out.
        asked: what `Staleness` has to keep of the frame.
    """

    frame: Frame
    image_rgb: UInt8[np.ndarray, "h w 3"] = field(repr=False)
    prior: UInt8[np.ndarray, "h w"] | None = field(repr=False)
    prediction: UInt8[np.ndarray, "h w"] = field(repr=False)
    asked: tuple[UInt8[np.ndarray, "h2 w2"] | None, float] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LateLabels:
    """What the teacher said, before anything was learned from it; and how good what was put out had been."""

    question: Question
    labels: UInt8[np.ndarray, "h w"] = field(repr=False)
    accuracy: float
    teacher_ms: float


@dataclass(frozen=True, slots=True)
class LateLesson:
    """What learning it did; the weights that came of it are ready. `speaks`: whether the student is worth hearing."""

    question: Question
    labels: UInt8[np.ndarray, "h w"] = field(repr=False)
    stride: int
    updates: int
    accuracy: float
    accuracy_after: float | None
    loss: float | None
    teacher_ms: float
    learning_ms: float
    update_ms: float | None
    speaks: bool = True
    visit: Visit | None = None


@final
class Copy:
    """A network to predict with, that follows another one when it is told to."""

    def __init__(self, learner: Learner) -> None:
        self._source = learner.net
        self._folded = Folded(self._source, dtype=learner.dtype) if isinstance(self._source, AnyStudent) else None
        self.net: nn.Module = copy.deepcopy(self._source) if self._folded is None else self._folded.net
        self.net.eval()

    def refresh(self) -> None:
        """Take over what the source has learned."""
        if self._folded is not None:
            self._folded.refresh()
        else:
            self.net.load_state_dict(self._source.state_dict())


@final
class Trainer:
    """The thread, in a `with` block; all methods are called by the thread that predicts, and none of them waits.

    Weights are handed over between two copies: the stream predicts with one, the other is brought up to date here and
    is taken whole, between two frames.
    """

    def __init__(self, distiller: Distiller, *, budget: float, num_threads: int) -> None:
        self.distiller = distiller
        self.allowance = Allowance(budget, num_threads=num_threads)
        self._num_threads = num_threads
        self._spare: Copy | None = Copy(distiller.learner)
        self._fresh: Copy | None = None
        self._jobs: deque[Callable[[], None]] = deque()
        self._news: deque[LateLabels | LateLesson] = deque()
        self._is_asked = self._is_stopping = self._is_at_work = False
        self._error: BaseException | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="trainer", daemon=True)

    def __enter__(self) -> "Trainer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        with self._change:
            self._is_stopping = True
            self._change.notify_all()
        self.allowance.stop()
        self._thread.join()

    @property
    def is_free(self) -> bool:
        """Whether a question would be taken."""
        return not self._is_asked

    @property
    def is_resting(self) -> bool:
        """Whether it pauses to keep to its budget; what is asked now waits for the end of that."""
        return self.allowance.is_resting

    def ask(self, question: Question) -> None:
        """Have the teacher label a frame, and learn it."""
        assert self.is_free
        self._is_asked = True
        self.do(lambda: self._teach(question))

    def do(self, job: Callable[[], None]) -> None:
        """Have something done in the thread, after what was asked before, where nothing is half learned."""
        with self._change:
            self._jobs.append(job)
            self._change.notify_all()

    def news(self) -> list[LateLabels | LateLesson]:
        """What has come of it since the last call.

        Raises:
            BaseException: whatever teacher, learning or a job raised.
        """
        with self._change:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            found = list(self._news)
            self._news.clear()
        if any(isinstance(one, LateLesson) for one in found):
            self._is_asked = False  # not earlier: labels that nobody has taken yet belong to the last question
        return found

    def exchange(self, used: Copy) -> Copy:
        """The newest copy of the network, for the one in use; the same one where nothing has been learned since."""
        with self._change:
            fresh = self._fresh
            if fresh is None:
                return used
            self._fresh, self._spare = None, used
        return fresh

    def wait(self) -> None:
        """Until all that was asked is done."""
        with self._change:
            self._change.wait_for(lambda: not (self._jobs or self._is_at_work) or self._error is not None)

    def _work(self) -> None:
        give_way()
        torch.set_num_threads(self._num_threads)
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or self._is_stopping)
                if self._is_stopping:
                    return
                job, self._is_at_work = self._jobs.popleft(), True
            try:
                job()
            except BaseException as error:  # belongs to the stream
                self._error = error
            with self._change:
                self._is_at_work = False
                self._change.notify_all()

    def _teach(self, question: Question) -> None:
        distiller, image = self.distiller, question.image_rgb
        self.allowance.begin()
        started = time.perf_counter()
        answer = distiller.teacher(question.frame.image_rgb, frame_index=question.frame.index)
        sample = Sample(image, *targets(answer, (image.shape[1], image.shape[0])), question.prior)
        teacher_ms = _since_ms(started)
        self._tell(
            LateLabels(question, sample.labels, distiller.accuracy(question.prediction, sample.labels), teacher_ms)
        )
        self.allowance.rest()
        started, rested_s = time.perf_counter(), self.allowance.rested_s
        lesson = distiller.learn(sample, question.prediction, between_steps=self.allowance.rest)
        distiller.last_teacher_frame = question.frame.index
        learning_ms = _since_ms(started) - (self.allowance.rested_s - rested_s) * 1e3
        if lesson.updates or (lesson.visit is not None and lesson.visit.is_recalled):
            self._refresh()
        self._tell(
            LateLesson(
                question,
                sample.labels,
                stride=distiller.stride,
                updates=lesson.updates,
                accuracy=lesson.accuracy_before,
                accuracy_after=lesson.accuracy_after,
                loss=lesson.loss,
                teacher_ms=teacher_ms,
                learning_ms=learning_ms,
                update_ms=lesson.update_ms / lesson.updates if lesson.updates else None,
                speaks=distiller.worth.speaks,
                visit=lesson.visit,
            )
        )
        self.allowance.rest()

    def _refresh(self) -> None:
        """Bring the copy that nobody uses up to date; where the last one was not taken yet, that one."""
        with self._change:
            copy_, self._spare, self._fresh = self._fresh or self._spare, None, None
        if copy_ is None:  # cannot be: there are two, and the stream has one
            raise AssertionError("both copies are in use")
        copy_.refresh()
        with self._change:
            self._fresh = copy_

    def _tell(self, what: LateLabels | LateLesson) -> None:
        with self._change:
            self._news.append(what)


def _since_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
