"""A distiller goes on where it was, tells what it did, and is told of the last labels."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fakes import CLASSES, LookupTeacher, TinyStudent, shapes
from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import IGNORE
from narrowcast.stream.baselines import flow
from narrowcast.stream.distill import LEARNING, THESIS, DistillConfig, Distiller, distill, with_accuracy
from narrowcast.stream.learner import Learner, LearnerConfig
from narrowcast.stream.schedule import StrideSchedule

CPU = torch.device("cpu")
NO_PRIOR = LearnerConfig(own_share=1.0, prior_share=0.0)
BY_ITSELF = replace(
    LEARNING, learner=NO_PRIOR, judges="learned"
)  # the student is not told of the teacher's last labels
ALONE = replace(BY_ITSELF, replay=0)  # learns the current frame only, so that scripts stay readable


# --- going on where it was --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [LEARNING, THESIS], ids=["learning", "thesis"])
@pytest.mark.parametrize("cut", [1, 8, 13])
def test_a_restored_distiller_goes_on_exactly(config: DistillConfig, cut: int) -> None:
    frames, labels = shapes(30)

    def fresh(seed: int) -> Distiller:
        return Distiller(TinyStudent(seed=seed), LookupTeacher(labels), config, size_wh=None, device=CPU)

    whole = fresh(0)
    expected = [whole.step(frame) for frame in frames]
    before = fresh(0)
    for frame in frames[:cut]:
        before.step(frame)
    tensors, values = before.state()
    tensors = {name: value.clone() for name, value in tensors.items()}
    after = fresh(1)
    after.load_state(tensors, json.loads(json.dumps(values)), source="a")
    assert after.frame_size_wh == (64, 48)
    for frame, report in zip(frames[cut:], expected[cut:], strict=True):
        found = after.step(frame)
        np.testing.assert_array_equal(found.prediction, report.prediction)
        assert found.to_json() | {"timings_ms": None} == report.to_json() | {"timings_ms": None}


def test_a_state_from_before_the_first_frame_is_loaded() -> None:
    _, labels = shapes(1)
    first, second = (
        Distiller(TinyStudent(), LookupTeacher(labels), LEARNING, size_wh=None, device=CPU) for _ in range(2)
    )
    second.load_state(*first.state(), source="a")
    assert second.frame_size_wh is None
    assert second.is_due(0)


# --- reports ----------------------------------------------------------------------------------------------------------


def test_reports_say_what_was_done() -> None:
    frames, labels = shapes(9)
    first, second, *_, last = distill(frames, TinyStudent(), LookupTeacher(labels), config=LEARNING)
    assert set(first.timings_ms) == {"student", "teacher", "learning", "update"}
    assert set(second.timings_ms) == {"student"}
    assert all(value > 0 for value in first.timings_ms.values())
    line = json.loads(json.dumps(last.to_json(), allow_nan=False))
    assert (line["frame"], line["time_s"], line["teacher_ran"]) == (8, 0.32, True)
    assert "labels" not in line
    assert second.to_json() | {"timings_ms": {}} == {
        "frame": 1,
        "time_s": 0.04,
        "teacher_ran": False,
        "student_ran": True,
        "stride": first.stride,
        "updates": 0,
        "accuracy": None,
        "accuracy_after": None,
        "loss": None,
        "timings_ms": {},
    }


def test_the_one_knob() -> None:
    assert with_accuracy(THESIS, 0.7) == replace(THESIS, schedule=StrideSchedule(accuracy=0.7))
    with pytest.raises(ConfigError, match=r"accuracy = 1\.5"):
        with_accuracy(THESIS, 1.5)


@pytest.mark.parametrize("settings", [{"min_area": -0.1}, {"min_area": 1.0}, {"replay": -1}, {"seed": -1}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"must be in|must not be negative"):
        DistillConfig(**settings)  # type: ignore[arg-type]


# --- told of the teacher's last labels --------------------------------------------------------------------------------


class SilentStudent(nn.Module):
    """Has nothing to say."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def coarse_logits(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return torch.zeros(1, len(CLASSES), height, width) + 0 * self.unused


def test_a_student_with_nothing_to_say_gives_the_teachers_labels_moved_by_flow() -> None:
    frames, labels = shapes(24)
    teacher = LookupTeacher(labels)
    schedule = StrideSchedule(min_stride=8, max_stride=8)
    ours = list(distill(frames, SilentStudent(), teacher, config=replace(LEARNING, schedule=schedule)))
    moved = list(flow(frames, teacher, every=8, size_wh=(labels[0].shape[1], labels[0].shape[0])))
    for report, expected in zip(ours, moved, strict=True):
        np.testing.assert_array_equal(report.prediction, expected.prediction)


def test_unknown_pixels_of_the_last_labels_say_nothing() -> None:
    learner = Learner(SilentStudent(), LEARNING.learner, device=CPU)
    prior = np.full((16, 16), IGNORE, np.uint8)
    prior[:4] = 2
    predicted = learner.predict(np.zeros((16, 16, 3), np.uint8), prior)
    assert (predicted[:4] == 2).all()
    assert (predicted[4:] == 0).all()
