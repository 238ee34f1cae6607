"""The offline oracle: a student trained on every fifth frame of the very stream that it is then scored on (2.4.3).

It looks ahead, so it is no method for a live stream; it bounds what a student of this size can know of a stream when it
does not adapt. The thesis trains for an hour on four GPUs with random batches; here it is a number of passes.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import Frame
from narrowcast.models.pretrained import student_called
from narrowcast.models.teacher import Teacher
from narrowcast.stream import baselines
from narrowcast.stream.learner import Learner, LearnerConfig, Sample, shrink
from narrowcast.stream.setting import Setting, Started
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.targets import targets

EVERY = 5  # frames; section 2.4.3
ALONE = LearnerConfig(learning_rate=1e-3, own_share=1.0, prior_share=0.0)  # without labels of earlier frames; ours


@final
@dataclass(frozen=True, slots=True)
class Oracle:
    """A method (`stream.methods`).

    Attributes:
        every: frames from one training frame to the next.
        passes: over the training frames, in random order; ours.
        student: to begin with.
    """

    every: int = EVERY
    passes: int = 8
    student: str = "pretrained"
    is_seeded: bool = True

    def __post_init__(self) -> None:
        if self.every < 1 or self.passes < 1:
            raise ConfigError(f"oracle: every = {self.every}, passes = {self.passes}: both must be at least 1")

    def start(self, setting: Setting) -> Started:
        """Train; what it took, and the teacher's calls for the training frames, are costs before the first frame."""
        net = student_called(self.student, setting.class_map)
        learner = Learner(net, ALONE, device=setting.device)
        with setting.open_frames() as frames:
            samples = list(training_samples(frames, setting.labels, every=self.every, size_wh=setting.size_wh))
        started = time.perf_counter()
        updates = train(learner, samples, passes=self.passes, rng=np.random.default_rng(setting.seed))
        spent_s = time.perf_counter() - started

        def run(frames: Iterable[Frame]) -> Iterator[StreamReport]:
            return baselines.frozen(frames, net, size_wh=setting.size_wh, device=setting.device)

        return Started(run, net, upfront_s=spent_s, upfront_frames=len(samples), upfront_updates=updates)


def training_samples(
    frames: Iterable[Frame], labels: Teacher, *, every: int, size_wh: tuple[int, int]
) -> Iterator[Sample]:
    """Every `every`-th frame with its labels; 0.5 MB each at 384×288."""
    for frame in frames:
        if frame.index % every == 0:
            answer = labels(frame.image_rgb, frame_index=frame.index)
            sample = Sample(shrink(frame.image_rgb, size_wh), *targets(answer, size_wh))
            if sample.weights.any():
                yield sample


def train(learner: Learner, samples: list[Sample], *, passes: int, rng: np.random.Generator) -> int:
    """Gradient steps on single samples in random order; how many. The learning rate falls as half a cosine."""
    num_steps, done = passes * len(samples), 0
    highest = learner.config.learning_rate
    for _ in range(passes):
        for ix in rng.permutation(len(samples)):
            for group in learner.optimizer.param_groups:
                group["lr"] = highest * 0.5 * (1 + np.cos(np.pi * done / num_steps))
            learner.attempt(samples[ix]).step()
            done += 1
    return done
