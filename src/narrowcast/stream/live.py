"""A live stream: every frame is labelled when it comes, and what the teacher says of it is heard when it is said.

The student that labels never waits. Teacher and updates run beside it (`stream.trainer`); new weights are taken over
between two frames, and labels that come late are first moved to where they lie by now.
"""

import os
import time
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import Frame
from narrowcast.stream.distill import Distiller, without_unknown
from narrowcast.stream.learner import shrink
from narrowcast.stream.moved_labels import MovedLabels
from narrowcast.stream.schedule import has_changed
from narrowcast.stream.stream_report import LiveFacts, StreamReport, predicted
from narrowcast.stream.trainer import Copy, LateLabels, LateLesson, Question, Trainer
from narrowcast.video.mailbox import WhenLate

GAP_S = 2.0  # ours: without a frame for so long, what flow makes of the frames around is worth nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveConfig:
    """How a live stream is run.

    Attributes:
        when_late: what happens to frames that come faster than they are labelled: "wait", "drop-oldest", "drop-newest".
        asks: the teacher is asked whenever it is "free", or when it is "due" as in a run that waits (`is_due`), which
            saves what a call costs.
        is_paced: whether a recorded video plays at its own rate, as a camera would give it.
        budget: cores that teacher and updates may take on average; 0: no limit.
        num_threads: of a teacher with a pool of its own (LiteRT, ONNX); 0: all cores, since it gives way.
        keep_min: minutes of the stream whose reports, labels and video are kept; 0: all.
    """

    when_late: WhenLate = "wait"
    asks: Literal["free", "due"] = "free"
    is_paced: bool = False
    budget: float = 0.0
    num_threads: int = 0
    keep_min: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.budget <= 1024:
            raise ConfigError(f"--budget {self.budget:g}: expected a number of cores, such as 0.5 (0: no limit)")
        if not 0 <= self.num_threads <= 1024:
            raise ConfigError(f"[live]: num_threads = {self.num_threads}: must be 0 (all cores) to 1024")
        if not 0 <= self.keep_min < float("inf"):
            raise ConfigError(f"--keep {self.keep_min:g}: expected minutes of the stream (0: everything)")

    def teacher_threads(self) -> int:
        """Threads of a teacher with a pool of its own: no more than the budget can pay."""
        asked = self.num_threads or os.cpu_count() or 1
        return max(1, min(asked, round(self.budget))) if self.budget else asked


def shares_of(num_threads: int) -> tuple[int, int]:
    """Of torch's threads those that predict, and those that learn.

    Together they are no more than there were: threads of a team wait for each other awake, and two teams that share
    cores wait for ever (an update took 250 ms instead of 43 on two cores).

    >>> shares_of(1), shares_of(2), shares_of(7)
    ((1, 1), (1, 1), (3, 4))
    """
    predicting = max(1, num_threads // 2)
    return predicting, max(1, num_threads - predicting)


@dataclass(frozen=True, slots=True)
class LiveStep:
    """A frame that was labelled, and what came of an earlier one.

    Attributes:
        report: of the frame.
        taught: the earlier frame with a report that has the teacher's labels, where a lesson has ended.
    """

    report: StreamReport
    taught: tuple[Frame, StreamReport] | None


@final
class LiveDistiller:
    """The part of a live stream that must not wait. `trainer` has the teacher, the learner and the schedule."""

    def __init__(self, distiller: Distiller, trainer: Trainer, *, asks: Literal["free", "due"] = "free") -> None:
        self.distiller, self.trainer, self.asks = distiller, trainer, asks
        self.learner, self.size_wh = distiller.learner, distiller.size_wh
        self.moved: MovedLabels | None = None
        self.staleness = distiller.staleness  # of this thread alone; the trainer asks for what it says
        self.cuts = distiller.cuts  # of this thread too
        self.stride = distiller.stride
        self._speaks = distiller.worth.speaks
        self.num_swaps = 0
        self._copy = Copy(self.learner)
        self._last: Frame | None = None
        self._interval_s = 0.0  # between the last two frames
        self._asked: Frame | None = None  # last
        self._delay = 0.0  # frames that the teacher's answer takes, as it was lately
        self._labels_of: int | None = None  # the frame whose labels are moved along
        self._learned: int | None = None  # the frame that was learned last
        self._weights_of: int | None = None  # the frame that the weights in use learned last
        self._forgets_answer = False  # the answer on its way is of a scene that is gone

    def step(self, frame: Frame, *, arrived_s: float) -> LiveStep:
        """Label `frame`; where the teacher is free and due, have it asked."""
        began = time.perf_counter()
        is_swapped = self._swap()
        size_wh = (frame.image_rgb.shape[1], frame.image_rgb.shape[0])
        is_after_gap = self._is_after_gap(frame, size_wh)
        image = shrink(frame.image_rgb, self.size_wh or size_wh)
        is_cut = self.cuts is not None and self.cuts.follow(image)
        if is_after_gap or is_cut:
            self._forget_the_scene()
        lesson = self._hear(frame.index)
        prior = self._follow(image)
        is_heard = prior is None or self._speaks
        if is_heard:
            age = 0 if self.moved is None else self.moved.age
            prediction = self.learner.predict_with(self._copy.net, image, prior, age=age)
        else:
            assert prior is not None
            prediction = without_unknown(prior)
        student_ms, latency_ms = _since_ms(began), (time.monotonic() - arrived_s) * 1e3
        facts = LiveFacts(
            taught_frame=None if lesson is None else lesson.question.frame.index,
            dropped=0 if self._last is None else frame.index - self._last.index - 1,
            is_after_gap=is_after_gap,
            is_swapped=is_swapped,
            weights_age=None if self._weights_of is None else frame.index - self._weights_of,
            labels_age=None if self._labels_of is None else frame.index - self._labels_of,
        )
        self._last = frame
        self.distiller.frame_size_wh = size_wh
        if self._can_ask(frame.index) and self.distiller.may_ask(frame):
            asked = None if self.staleness is None else self.staleness.asked()
            self._ask(Question(frame, image, prior, prediction, asked))
        timings = {"student": student_ms, "latency": latency_ms}
        report = predicted(
            frame,
            prediction,
            stride=self.stride,
            timings_ms=timings,
            live=facts,
            student_ran=is_heard,
        )
        return LiveStep(_with(report, lesson), None if lesson is None else (lesson.question.frame, _taught(lesson)))

    def _can_ask(self, frame_index: int) -> bool:
        if not self.trainer.is_free:
            return False
        if self.asks == "free":
            return not self.trainer.is_resting  # what is asked after the rest is of a newer frame
        return self.is_due(frame_index)

    def is_due(self, frame_index: int) -> bool:
        """Whether the teacher must be asked now, so that labels are as old on average as they would be without a delay.

        Labels that are there at once are 0 to δ frames old, where δ is the stride. Those that come n frames late and
        are asked for every m are n to n + m frames old: m = δ - 2 n.
        """
        if self._asked is None:
            return True
        if self.staleness is not None:
            return has_changed(
                frame_index,
                last_teacher_frame=self._asked.index,
                error=self.staleness.total,
                schedule=self.distiller.config.schedule,
                delay=self._delay,
            )
        return frame_index - self._asked.index >= max(1, self.stride - round(2 * self._delay))

    def _swap(self) -> bool:
        before, self._copy = self._copy, self.trainer.exchange(self._copy)
        if self._copy is before:
            return False
        self.num_swaps += 1
        return True

    def _hear(self, frame_index: int) -> LateLesson | None:
        """Take what the trainer has to tell; the lesson that has ended, if one has."""
        ended = None
        for news in self.trainer.news():
            asked = news.question.frame.index
            if isinstance(news, LateLabels):
                self._adopt(news, frame_index)
                continue
            ended, self._weights_of = news, asked if news.updates else self._weights_of
            self.stride = self.distiller.config.schedule.min_stride if self._forgets_answer else news.stride
            self._forgets_answer, self._speaks = False, news.speaks
        return ended

    def _adopt(self, news: LateLabels, frame_index: int) -> None:
        asked = news.question.frame.index
        delay = frame_index - asked
        self._delay = delay if not self._delay else 0.8 * self._delay + 0.2 * delay  # ours: a mean over some five
        if self.moved is not None and not self._forgets_answer:
            self.moved.adopt(news.labels)
            self._labels_of = asked
            if self.staleness is not None and news.question.asked is not None:
                error = None if news.question.prior is None else 1 - news.accuracy
                self.staleness.restart(news.question.asked, error)

    def _is_after_gap(self, frame: Frame, size_wh: tuple[int, int]) -> bool:
        if self._last is None:
            return frame.is_after_gap
        last_wh = (self._last.image_rgb.shape[1], self._last.image_rgb.shape[0])
        passed_s = float(frame.time_s - self._last.time_s)
        is_long = passed_s > max(GAP_S, 4 * self._interval_s)  # a camera may send a frame every ten seconds
        self._interval_s = self._interval_s if is_long else passed_s
        return frame.is_after_gap or size_wh != last_wh or is_long

    def _forget_the_scene(self) -> None:
        """After a gap: labels of the time before say nothing of this frame, and the teacher has to look at once.

        An answer on its way is still learned, since its labels belong to its own image; it is not moved to here.
        """
        self.moved, self._asked, self._labels_of = None, None, None
        if self.staleness is not None:
            self.staleness.forget()
        self.stride = self.distiller.config.schedule.min_stride
        self.trainer.do(self._begin_scene)
        self._forgets_answer = not self.trainer.is_free

    def _begin_scene(self) -> None:
        """What the trainer has to know of it; an answer that is on its way is learned before."""
        self.distiller.stride = self.distiller.config.schedule.min_stride
        if self.distiller.recall is not None:
            self.distiller.recall.begin()

    def _follow(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"] | None:
        if not self.learner.config.prior_share:
            return None
        if self.moved is None:
            self.moved = MovedLabels((image_rgb.shape[1], image_rgb.shape[0]))
        prior = self.moved.follow(image_rgb)
        if self.staleness is not None:
            self.staleness.follow(image_rgb, prior, self.moved.origin_xy)
        return prior

    def _ask(self, question: Question) -> None:
        self._asked = question.frame
        if self.moved is not None:
            self.moved.mark()
        self.trainer.ask(question)


def _with(report: StreamReport, lesson: LateLesson | None) -> StreamReport:
    """The report, with what the lesson that has just ended did."""
    if lesson is None:
        return report
    return replace(
        report,
        stride=lesson.stride,
        updates=lesson.updates,
        accuracy=lesson.accuracy,
        accuracy_after=lesson.accuracy_after,
        loss=lesson.loss,
        timings_ms=dict(report.timings_ms) | _timings(lesson),
        visit=lesson.visit,
    )


def _taught(lesson: LateLesson) -> StreamReport:
    """The report of the frame that was asked about, as it would have been had the teacher been there at once."""
    question = lesson.question
    return StreamReport(
        question.frame.index,
        float(question.frame.time_s),
        labels=question.prediction,
        prediction=question.prediction,
        teacher_labels=lesson.labels,
        stride=lesson.stride,
        updates=lesson.updates,
        accuracy=lesson.accuracy,
        accuracy_after=lesson.accuracy_after,
        loss=lesson.loss,
        timings_ms=_timings(lesson),
    )


def _timings(lesson: LateLesson) -> dict[str, Any]:
    timings = {"teacher": lesson.teacher_ms, "learning": lesson.learning_ms}
    return timings if lesson.update_ms is None else timings | {"update": lesson.update_ms}


def _since_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
