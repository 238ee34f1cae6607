from contextlib import nullcontext

import numpy as np
import pytest
import torch

from fakes import CLASSES, LookupTeacher, TinyStudent, shapes
from narrowcast.core.errors import ConfigError
from narrowcast.models.classes import parse_classes
from narrowcast.models.jitnet import JITNet
from narrowcast.models.student import save_student
from narrowcast.stream.learner import Learner, LearnerConfig
from narrowcast.stream.oracle import Oracle, train, training_samples
from narrowcast.stream.setting import Setting


def test_every_fifth_frame_is_learned(tmp_path) -> None:
    frames, labels = shapes(11)
    teacher = LookupTeacher(labels)
    samples = list(training_samples(frames, teacher, every=5, size_wh=(64, 48)))
    assert teacher.asked == [0, 5, 10]
    assert [int(sample.weights.max()) for sample in samples] == [5, 5, 5]


def test_training_learns_the_samples() -> None:
    frames, labels = shapes(20)
    samples = list(training_samples(frames, LookupTeacher(labels), every=5, size_wh=(64, 48)))
    learner = Learner(TinyStudent(), LearnerConfig(learning_rate=0.01), device=torch.device("cpu"))
    before = [np.mean(learner.predict(sample.image_rgb) == sample.labels) for sample in samples]
    assert train(learner, samples, passes=20, rng=np.random.default_rng(0)) == 20 * len(samples)
    after = [np.mean(learner.predict(sample.image_rgb) == sample.labels) for sample in samples]
    assert np.mean(after) > max(0.9, np.mean(before))


def test_what_it_took_is_a_cost(tmp_path) -> None:
    frames, labels = shapes(6)
    save_student(tmp_path / "start.safetensors", JITNet(len(CLASSES), width=0.25), CLASSES)
    setting = Setting(
        teacher=LookupTeacher(labels),
        labels=LookupTeacher(labels),
        class_map=parse_classes("round,square", CLASSES),
        size_wh=(64, 48),
        device=torch.device("cpu"),
        seed=1,
        open_frames=lambda: nullcontext(frames),
    )
    started = Oracle(3, passes=2, student=str(tmp_path / "start.safetensors")).start(setting)
    assert (started.upfront_frames, started.upfront_updates) == (2, 4)
    assert started.upfront_s > 0
    reports = list(started.run(frames))
    assert [report.updates for report in reports] == [0] * 6
    assert not any(report.teacher_ran for report in reports)
    with pytest.raises(ConfigError, match="every = 0"):
        Oracle(0)
