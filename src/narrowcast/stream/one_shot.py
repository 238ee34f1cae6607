"""One-shot segmentation in OSVOS's manner (section 2.4.5): learn one frame long, then segment the frames after it.

Every 30 frames the teacher labels one, a network is trained on that frame and its mirror image alone, and segments the
next 29. Mode A goes on from the network of the interval before, mode B begins each interval with the pretrained one.
The thesis trains OSVOS itself, for 30 s a frame on a GPU and one class a run; here it is our student on all classes,
with a number of updates, so it is the manner that is compared and not that network.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np

from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import Frame
from narrowcast.metrics.segmentation import frame_iou
from narrowcast.models.pretrained import student_called
from narrowcast.stream.learner import Learner, LearnerConfig, Sample, shrink
from narrowcast.stream.schedule import has_elapsed
from narrowcast.stream.setting import Setting, Started
from narrowcast.stream.stream_report import StreamReport, predicted
from narrowcast.stream.targets import targets

INTERVAL = 30  # frames; section 2.4.5
UPDATES = 100  # on each teacher frame, half of them on its mirror image; ours


@final
@dataclass(frozen=True, slots=True)
class OneShot:
    """A method (`stream.methods`).

    Attributes:
        mode: "a" adapts on from interval to interval, "b" begins anew in each.
        interval: frames from one teacher frame to the next.
        updates: gradient steps on each.
        student: to begin with.
    """

    mode: Literal["a", "b"]
    interval: int = INTERVAL
    updates: int = UPDATES
    student: str = "pretrained"
    is_seeded: bool = False

    def __post_init__(self) -> None:
        if self.interval < 1 or self.updates < 1:
            raise ConfigError(f"one-shot: interval = {self.interval}, updates = {self.updates}: must be at least 1")

    def start(self, setting: Setting) -> Started:
        net = student_called(self.student, setting.class_map)
        config = LearnerConfig(learning_rate=1e-3, own_share=1.0, prior_share=0.0)
        learner = Learner(net, config, device=setting.device)
        return Started(lambda frames: self._run(frames, learner, setting), net)

    def _run(self, frames: Iterable[Frame], learner: Learner, setting: Setting) -> Iterator[StreamReport]:
        pristine = {name: tensor.clone() for name, tensor in learner.state().items()}
        last_teacher_frame = None
        for frame in frames:
            started = time.perf_counter()
            image = shrink(frame.image_rgb, setting.size_wh)
            prediction = learner.predict(image)
            report = predicted(
                frame,
                prediction,
                stride=self.interval,
                timings_ms={"student": (time.perf_counter() - started) * 1e3},
            )
            if has_elapsed(frame.index, last_teacher_frame=last_teacher_frame, stride=self.interval):
                last_teacher_frame = frame.index
                if self.mode == "b":
                    learner.load_state(pristine, source="the pretrained student")
                report = self._taught(report, frame, image, learner, setting)
            yield report

    def _taught(
        self, report: StreamReport, frame: Frame, image: np.ndarray, learner: Learner, setting: Setting
    ) -> StreamReport:
        """The report of a teacher frame, after learning it."""
        started = time.perf_counter()
        answer = setting.teacher(frame.image_rgb, frame_index=frame.index)
        answered = time.perf_counter()
        sample = Sample(image, *targets(answer, setting.size_wh))
        pair, loss = (sample, _mirrored(sample)), None
        for ix in range(self.updates if sample.weights.any() else 0):
            loss = learner.attempt(pair[ix % 2]).step()
        done = time.perf_counter()
        num_classes = len(setting.class_map.classes)
        timings_ms = {"teacher": (answered - started) * 1e3, "learning": (done - answered) * 1e3}
        return replace(
            report,
            labels=sample.labels,
            teacher_labels=sample.labels,
            updates=0 if loss is None else self.updates,
            accuracy=frame_iou(report.prediction, sample.labels, num_classes),
            accuracy_after=frame_iou(learner.predict(image), sample.labels, num_classes),
            loss=loss,
            timings_ms={**report.timings_ms, **timings_ms, "update": timings_ms["learning"] / self.updates},
        )


def _mirrored(sample: Sample) -> Sample:
    return Sample(*(np.ascontiguousarray(part[:, ::-1]) for part in (sample.image_rgb, sample.labels, sample.weights)))
