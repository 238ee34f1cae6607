"""The default method: moved labels, a teacher asked when the picture changes, a student that must be worth it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fakes import LookupTeacher, TinyStudent, plain_frames, same_tensors, shapes
from narrowcast.core.errors import ConfigError
from narrowcast.stream.baselines import flow
from narrowcast.stream.distill import DEFAULT, DistillConfig, Distiller, distill
from narrowcast.stream.learner import LearnerConfig

CPU = torch.device("cpu")


def test_nothing_changes_and_the_teacher_is_asked_at_the_longest_stride_alone() -> None:
    frames = plain_frames(130)
    labels = [np.zeros(frame.image_rgb.shape[:2], np.uint8) for frame in frames]
    reports = list(distill(frames, TinyStudent(), LookupTeacher(labels)))
    assert [report.frame for report in reports if report.teacher_ran] == [0, 64, 128]
    assert [report.stride for report in reports if report.teacher_ran] == [4, 64, 64]
    assert not any(report.updates for report in reports)


def test_a_silent_student_leaves_flow_with_the_teacher_asked_on_change() -> None:
    frames, labels = shapes(24)
    every = replace(DEFAULT.schedule, min_stride=6, max_stride=6)
    config = replace(DEFAULT, schedule=every, patience=1000)
    ours = list(distill(frames, TinyStudent(), LookupTeacher(labels), config=config))
    size_wh = (frames[0].image_rgb.shape[1], frames[0].image_rgb.shape[0])
    theirs = list(flow(frames, LookupTeacher(labels), every=6, size_wh=size_wh))
    for one, other in zip(ours[1:], theirs[1:], strict=True):  # of the first frame nothing is known
        np.testing.assert_array_equal(one.labels, other.labels)


def test_a_student_that_is_worth_it_is_heard() -> None:
    frames, labels = shapes(80)
    config = replace(DEFAULT, patience=0, trial=2, dearer=1.0, schedule=replace(DEFAULT.schedule, accuracy=0.95))
    distiller = Distiller(TinyStudent(), LookupTeacher(labels), config, size_wh=None, device=CPU)
    modes = []
    for frame in frames:
        distiller.step(frame)
        modes.append(distiller.worth.mode)
    assert modes[0] == "trial"
    assert set(modes) > {"trial"}


@pytest.mark.parametrize("cut", [5, 13])
def test_a_restored_distiller_goes_on_exactly(cut: int) -> None:
    frames, labels = shapes(24)
    config = replace(DEFAULT, patience=1, trial=1)

    def made() -> Distiller:
        torch.manual_seed(0)
        return Distiller(TinyStudent(), LookupTeacher(labels), config, size_wh=None, device=CPU)

    straight, before, after = made(), made(), made()
    expected = [straight.step(frame) for frame in frames]
    for frame in frames[:cut]:
        before.step(frame)
    tensors, values = before.state()
    after.load_state(
        {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(values)), source=""
    )
    for frame, report in zip(frames[cut:], expected[cut:], strict=True):
        again = after.step(frame)
        np.testing.assert_array_equal(again.labels, report.labels)
        assert (again.teacher_ran, again.stride, again.updates) == (report.teacher_ran, report.stride, report.updates)
    assert same_tensors(after.state()[0], straight.state()[0])


def test_without_moved_labels_strides_elapse_and_the_student_speaks() -> None:
    config = replace(DEFAULT, learner=LearnerConfig(own_share=1.0, prior_share=0.0))
    frames, labels = shapes(10)
    distiller = Distiller(TinyStudent(), LookupTeacher(labels), config, size_wh=None, device=CPU)
    assert distiller.staleness is None
    assert distiller.worth.speaks
    assert [report.frame for report in map(distiller.step, frames) if report.teacher_ran][:2] == [0, 4]


@pytest.mark.parametrize("settings", [{"dearer": 0.9}, {"trial": -1}, {"patience": -1}], ids=str)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        DistillConfig(**settings)  # type: ignore[arg-type]
