"""Online distillation: Algorithm 1, as printed and as we run it (section 2.2.3).

Every frame is predicted, then scored if the teacher ran, then learned from; in this order, here, so that no caller can
let a label reach the student before its frame was predicted.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import IGNORE, Frame
from narrowcast.metrics.segmentation import frame_iou
from narrowcast.models.teacher import Teacher
from narrowcast.stream.cuts import Cuts
from narrowcast.stream.learner import Learner, LearnerConfig, Sample, shrink
from narrowcast.stream.look_ahead import LookAhead
from narrowcast.stream.moved_labels import MovedLabels
from narrowcast.stream.recall import Recall, Visit
from narrowcast.stream.replay import Replay
from narrowcast.stream.schedule import StrideSchedule, has_changed, has_elapsed, is_multiple, next_stride, wants_update
from narrowcast.stream.staleness import Staleness
from narrowcast.stream.stream_report import StreamReport, predicted, relabelled
from narrowcast.stream.targets import resize_labels, targets
from narrowcast.stream.worth import Worth

MIN_STRIDE = 4  # ours, half of the thesis's: asked for where the moved labels are no longer good, and only there
MAX_LEARNING_STRIDE = 16  # ours, a quarter of the thesis's: what comes into view is known to the teacher alone


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig:
    """Algorithm 1 and its open choices. `DEFAULT` is ours, `LOOK_AHEAD` ours for recorded video, `LEARNING` ours where
    the student always learns and speaks, `THESIS` follows the print.

    Attributes:
        schedule: threshold, strides and updates.
        learner: optimiser, norm, and how much the student hears of the teacher's last labels. With a `prior_share` they
            are moved with the picture by optical flow and the student's logits are added to them: it only has to learn
            what flow gets wrong.
        asks: the teacher runs where t is a "multiple" of the stride (line 3), when it has "elapsed", or when the
            picture has "changed" so that the moved labels are thought to be off by 1 - accuracy for `min_stride` frames
            in sum (`stream.staleness`; where there are no moved labels: when the stride has elapsed).
        sees_cuts: whether a picture that jumps (`stream.cuts`) is a new scene: the labels of before are forgotten, and
            the teacher is due at once.
        judges: whose accuracy sets the stride: the "prediction" that was made before the teacher ran, which is what the
            stride has led to, or as printed that of the "learned" frame, which says what the student can do.
        is_threshold_enough: whether an accuracy equal to the threshold is good (line 14 says no).
        min_area: least share of the frame for a class to count in a frame's accuracy; 0 counts single pixels, and one
            stray pixel of an absent class then halves the mean.
        replay: how many of the last teacher frames are kept to be learned again; 0 learns the current frame only.
        outputs_teacher: whether a teacher frame's output is the teacher's labels (they are there, and right) or, as
            printed, the student's after learning them.
        trial, dearer, patience: when the student learns and speaks at all, and when the moved labels do alone
            (`stream.worth`); a trial of 0: it always does. Without a prior it does too.
        look_ahead: frames that wait, at most, until the teacher has looked again, for labels from both sides
            (`stream.look_ahead`); 0: every frame is labelled before the next one is seen. Needs a prior.
        seed: of the draws from the replay.
    """

    schedule: StrideSchedule = field(default_factory=lambda: StrideSchedule(min_stride=MIN_STRIDE))
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    asks: Literal["multiple", "elapsed", "changed"] = "changed"
    sees_cuts: bool = True
    judges: Literal["prediction", "learned"] = "prediction"
    is_threshold_enough: bool = True
    min_area: float = 0.0005
    replay: int = 16
    outputs_teacher: bool = True
    trial: int = 3
    dearer: float = 1.4
    patience: int = 16
    look_ahead: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"min_area = {self.min_area}: must be in [0, 1)")
        if not 1 <= self.dearer < math.inf:
            raise ConfigError(f"dearer = {self.dearer}: must be at least 1, and finite")
        for name in ("replay", "seed", "trial", "patience", "look_ahead"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: must not be negative")
        if self.look_ahead and not self.learner.prior_share:
            raise ConfigError("look_ahead: needs moved labels, so learner.prior_share must not be 0")


DEFAULT = DistillConfig()
LEARNING = DistillConfig(schedule=StrideSchedule(max_stride=MAX_LEARNING_STRIDE), asks="elapsed", trial=0)
THESIS = DistillConfig(
    schedule=StrideSchedule(),  # section 2.2.3
    learner=LearnerConfig(  # section 2.2.2
        optimizer="sgd", learning_rate=0.01, momentum=0.9, own_share=1.0, prior_share=0.0
    ),
    asks="multiple",
    sees_cuts=False,
    judges="learned",
    is_threshold_enough=False,
    min_area=0.0,
    replay=0,
    outputs_teacher=False,
    trial=0,
)
LOOK_AHEAD = DistillConfig(look_ahead=DEFAULT.schedule.max_stride)
DEFAULT_LIVE = replace(DEFAULT, dearer=1.0, patience=2)  # of `stream run --live`; chosen on vtest and one-by-one
METHODS = {"default": DEFAULT, "look-ahead": LOOK_AHEAD, "learning": LEARNING, "thesis": THESIS}


def distill(
    frames: Iterable[Frame],
    student: nn.Module,
    teacher: Teacher,
    *,
    config: DistillConfig = DEFAULT,
    size_wh: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    recall: Recall | None = None,
) -> Iterator[StreamReport]:
    """Adapt `student` to `frames` while they play; one report a frame (Algorithm 1).

    Args:
        frames: in order; the teacher sees them as they are, the student at `size_wh` (default: as they are).
        student: images (b, 3, h, w) in [0, 1] to logits over the teacher's classes; changed in place.
        teacher: asked now and then; its index 0 is the background.
        recall: students of other places, put aside and recalled (`stream.recall`).

    Yields:
        A report a frame, in order; with a `look_ahead` those since the last teacher frame come with the next one.
    """
    distiller = Distiller(student, teacher, config, size_wh=size_wh, device=torch.device(device), recall=recall)
    for frame in frames:
        for _, report in distiller.take(frame):
            yield report
    for _, report in distiller.rest():
        yield report


@final
class Distiller:
    """The state of one stream: student, optimiser, replay, stride and the last teacher frame."""

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        config: DistillConfig,
        *,
        size_wh: tuple[int, int] | None,
        device: torch.device,
        may_ask: Callable[[Frame], bool] = lambda _: True,
        recall: Recall | None = None,
    ) -> None:
        self.teacher, self.config, self.size_wh = teacher, config, size_wh
        self.may_ask = may_ask  # asked where the teacher is due: others may need it more
        self.learner = Learner(student, config.learner, device=device)
        self.recall = recall
        self.cuts = Cuts() if config.sees_cuts else None
        self.replay = Replay(config.replay, seed=config.seed)
        trial = config.trial if config.learner.prior_share else 0
        self.worth = Worth(trial=trial, dearer=config.dearer, patience=config.patience)
        self.staleness = Staleness() if config.asks == "changed" and config.learner.prior_share else None
        self.moved: MovedLabels | None = None  # made for the first frame; stays None where the student has no prior
        self.ahead: LookAhead[tuple[Frame, StreamReport]] | None = None
        if config.look_ahead:
            self.ahead = LookAhead(config.look_ahead)
        self.stride = config.schedule.min_stride
        self.last_teacher_frame: int | None = None
        self.frame_size_wh: tuple[int, int] | None = None  # of the last frame, for counting what the teacher does
        self._image: UInt8[np.ndarray, "h w 3"] | None = None  # the last frame as the student sees it
        self._is_new_scene = False  # whether that frame began one

    def take(self, frame: Frame) -> list[tuple[Frame, StreamReport]]:
        """`step`, and the frames that are done by it: this one; with a look-ahead, all since the last teacher frame."""
        if self.ahead is None:
            return [(frame, self.step(frame))]
        report = self.step(frame)
        done = self.rest() if self._is_new_scene else []
        if self._is_new_scene:
            self.ahead.forget()
        assert self._image is not None
        assert self.moved is not None
        if report.teacher_labels is None:
            return done + self.ahead.wait((frame, report), self._image, report.prediction, self.moved.origin_xy)
        started = time.perf_counter()
        closed = self.ahead.close(self._image, report.teacher_labels)
        each_ms = _since_ms(started) / max(1, len(closed))
        done += [(before, relabelled(earlier, labels, each_ms)) for (before, earlier), labels in closed]
        return [*done, (frame, report)]

    def rest(self) -> list[tuple[Frame, StreamReport]]:
        """The frames that still wait for the teacher, for no more will come."""
        return [] if self.ahead is None else self.ahead.rest()

    @property
    def num_waiting(self) -> int:
        """Frames that were stepped and are not done."""
        return 0 if self.ahead is None else len(self.ahead)

    def step(self, frame: Frame) -> StreamReport:
        """Predict `frame`; where the teacher is due, score the prediction, learn, and set the stride."""
        started = time.perf_counter()
        before_wh, self.frame_size_wh = self.frame_size_wh, (frame.image_rgb.shape[1], frame.image_rgb.shape[0])
        self._image = image = shrink(frame.image_rgb, self.size_wh or self.frame_size_wh)
        is_cut = self.cuts is not None and self.cuts.follow(image)
        self._is_new_scene = is_cut or frame.is_after_gap or before_wh not in (None, self.frame_size_wh)
        if self._is_new_scene:
            self._forget_the_scene()
        prior = self._follow(image)
        if self.staleness is not None and self.moved is not None:
            self.staleness.follow(image, prior, self.moved.origin_xy)
        is_heard = prior is None or self.worth.speaks
        if is_heard:
            prediction = self.learner.predict(image, prior, age=0 if self.moved is None else self.moved.age)
        else:
            assert prior is not None
            prediction = without_unknown(prior)
        student_ms = _since_ms(started)
        if not (self.is_due(frame.index) and self.may_ask(frame)):
            return predicted(
                frame,
                prediction,
                stride=self.stride,
                timings_ms={"student": student_ms},
                student_ran=is_heard,
            )
        report = self._teach(frame, image, prior, prediction, student_ms)
        return report if is_heard else replace(report, student_ran=False)

    def is_due(self, frame_index: int) -> bool:
        """Whether the teacher must run on this frame (line 3)."""
        if self.config.asks == "multiple":
            return is_multiple(frame_index, stride=self.stride)
        if self.staleness is None:
            return has_elapsed(frame_index, last_teacher_frame=self.last_teacher_frame, stride=self.stride)
        return has_changed(
            frame_index,
            last_teacher_frame=self.last_teacher_frame,
            error=self.staleness.total,
            schedule=self.config.schedule,
        )

    def _forget_the_scene(self) -> None:
        """After a gap: labels of the time before say nothing of this frame, and the teacher has to look at once."""
        self.moved, self.last_teacher_frame, self.stride = None, None, self.config.schedule.min_stride
        if self.staleness is not None:
            self.staleness.forget()
        if self.recall is not None:
            self.recall.begin()

    def _follow(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"] | None:
        """The teacher's last labels as they lie in this frame, where the student is told of them."""
        if not self.config.learner.prior_share:
            return None
        size_wh = (image_rgb.shape[1], image_rgb.shape[0])
        if self.moved is None or self.moved.size_wh != size_wh:  # frames of another size: nothing to go on from
            self.moved = MovedLabels(size_wh)
        return self.moved.follow(image_rgb)

    def _teach(
        self,
        frame: Frame,
        image: UInt8[np.ndarray, "h w 3"],
        prior: UInt8[np.ndarray, "h w"] | None,
        prediction: UInt8[np.ndarray, "h w"],
        student_ms: float,
    ) -> StreamReport:
        started = time.perf_counter()
        answer = self.teacher(frame.image_rgb, frame_index=frame.index)
        teacher_ms = _since_ms(started)
        started = time.perf_counter()
        sample = Sample(image, *targets(answer, (image.shape[1], image.shape[0])), prior)
        lesson = self.learn(sample, prediction)
        if self.moved is not None:
            self.moved.restart(sample.labels)
        if self.staleness is not None:
            self.staleness.restart(self.staleness.asked(), None if prior is None else 1 - lesson.accuracy_before)
            since = frame.index if self.last_teacher_frame is None else frame.index - self.last_teacher_frame
            self.stride = max(since, self.config.schedule.min_stride)
        learning_ms = _since_ms(started)
        self.last_teacher_frame = frame.index
        timings = {"student": student_ms, "teacher": teacher_ms, "learning": learning_ms}
        if lesson.updates:
            timings["update"] = lesson.update_ms / lesson.updates
        return StreamReport(
            frame.index,
            float(frame.time_s),
            labels=_known(sample.labels, prediction) if self.config.outputs_teacher else lesson.prediction,
            prediction=prediction,
            teacher_labels=sample.labels,
            stride=self.stride,
            updates=lesson.updates,
            accuracy=lesson.accuracy_before,
            accuracy_after=lesson.accuracy_after,
            loss=lesson.loss,
            timings_ms=timings,
            visit=lesson.visit,
        )

    def learn(
        self,
        sample: Sample,
        prediction: UInt8[np.ndarray, "h w"],
        *,
        between_steps: Callable[[], None] = lambda: None,
    ) -> "Lesson":
        """Lines 6 to 17: gradient steps until the student is good on this frame, or as often as it may; the stride."""
        schedule = self.config.schedule
        lesson = Lesson(prediction, self.accuracy(prediction, sample.labels))
        if not sample.weights.any():  # the teacher knows nothing of this frame: nothing to learn, and no reason to wait
            self.stride = schedule.min_stride
            return lesson
        if self.recall is not None:
            lesson.visit = self.recall.attend(sample, self.learner, self.worth)
        before: float | None = None  # the student's accuracy, whether it spoke or not
        while self.worth.learns:
            started = time.perf_counter()
            attempt = self.learner.attempt(sample)
            lesson.prediction = attempt.prediction()
            lesson.accuracy_after = self.accuracy(lesson.prediction, sample.labels)
            before = lesson.accuracy_after if before is None else before
            if not wants_update(lesson.updates, accuracy=lesson.accuracy_after, schedule=schedule):
                break
            lesson.loss = attempt.step()
            lesson.updates += 1
            if self.replay and lesson.updates < schedule.max_updates:
                self.learner.attempt(self.replay.draw()).step()
                lesson.updates += 1
            lesson.update_ms += _since_ms(started)
            between_steps()
        self._weigh(sample, lesson, before)
        judged = lesson.accuracy_before if self.config.judges == "prediction" else lesson.accuracy_after
        self.stride = next_stride(
            self.stride,
            accuracy=lesson.accuracy_before if judged is None else judged,
            schedule=schedule,
            is_enough=self.config.is_threshold_enough,
        )
        self.replay.add(sample)
        if self.recall is not None:
            self.recall.taught(updates=lesson.updates, accuracy=lesson.accuracy_before)
        return lesson

    def _weigh(self, sample: Sample, lesson: "Lesson", before: float | None) -> None:
        """Have it weighed whether the student pays; without moved labels there is nothing to weigh against."""
        if sample.prior is not None:
            self.worth.add(
                student=before,
                moved=self.accuracy(sample.prior, sample.labels),
                is_enough=lesson.accuracy_before >= self.config.schedule.accuracy,
            )

    def accuracy(self, prediction: UInt8[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"]) -> float:
        """The accuracy of Algorithm 1: mean IoU over the classes that are there, with `min_area`."""
        min_area_px = max(1, round(self.config.min_area * labels.size))
        return frame_iou(prediction, labels, len(self.teacher.classes), min_area_px=min_area_px)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON values from which `load_state` continues exactly, when no frame waits."""
        tensors = self.learner.state() | self.replay.tensors()
        for part in (self.moved, self.staleness, self.ahead, self.cuts, self.recall):
            tensors |= part.tensors() if part is not None else {}
        return tensors, {
            "stride": self.stride,
            "last_teacher_frame": self.last_teacher_frame,
            "frame_size_wh": self.frame_size_wh,
            "replay": self.replay.state(),
            "worth": self.worth.state(),
            "staleness": self.staleness.state() if self.staleness is not None else None,
            "recall": self.recall.state() if self.recall is not None else None,
        }

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, source: str) -> None:
        """Continue where `state` was taken."""
        self.learner.load_state(tensors, source=source)
        self.replay.load(tensors, values["replay"])
        self.worth.load(values["worth"])
        if self.staleness is not None:
            self.staleness.load(tensors, values["staleness"])
        if self.ahead is not None:
            self.ahead.load(tensors)
        if self.cuts is not None:
            self.cuts.load(tensors)
        if self.recall is not None:
            self.recall.load(tensors, values["recall"])
        self.stride, self.last_teacher_frame = values["stride"], values["last_teacher_frame"]
        width_height = values["frame_size_wh"]
        self.frame_size_wh = None if width_height is None else (width_height[0], width_height[1])
        if "moved.origin_xy" in tensors:
            height, width = tensors["moved.origin_xy"].shape[:2]
            self.moved = MovedLabels((width, height))
            self.moved.load(tensors)


@dataclass(slots=True)
class Lesson:
    """What learning one frame did; filled in while it goes on."""

    prediction: UInt8[np.ndarray, "h w"]
    accuracy_before: float
    accuracy_after: float | None = None
    updates: int = 0
    update_ms: float = 0.0
    loss: float | None = None
    visit: Visit | None = None


def without_unknown(labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Moved labels as an output: background where the teacher did not know."""
    return _known(labels, np.zeros_like(labels))


def _known(labels: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The teacher's labels, with the student's where the teacher does not know: outputs have no unknown pixels."""
    unknown = labels == IGNORE
    return np.where(unknown, prediction, labels) if unknown.any() else labels


def with_accuracy(config: DistillConfig, accuracy: float) -> DistillConfig:
    """`config` with another threshold: the one knob."""
    return replace(config, schedule=replace(config.schedule, accuracy=accuracy))


def score_labels(report: StreamReport, labels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "h w"]:
    """Labels to score `report` against, at its size."""
    return resize_labels(labels, (report.prediction.shape[1], report.prediction.shape[0]))


def _since_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
