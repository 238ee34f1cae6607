"""The methods without learning: what they say on frames whose motion is known."""

from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest

from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import Frame
from narrowcast.models.jitnet import JITNet
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.baselines import NEVER, flow, frozen, hold
from narrowcast.stream.stream_report import StreamReport

SIZE_WH = (128, 96)
METHODS = [pytest.param(hold, id="hold"), pytest.param(flow, id="flow")]


class KnownTeacher:
    """Labels that are known beforehand; remembers on which frames it was asked."""

    classes = ("background", "thing")

    def __init__(self, labels: Callable[[int], np.ndarray]) -> None:
        self.labels, self.asked = labels, []

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        assert frame_index is not None
        self.asked.append(frame_index)
        return TeacherLabels(self.labels(frame_index))


def moved(index: int, *, step_px: int = 3) -> np.ndarray:
    """The labels of `panning`: a rectangle that goes to the right."""
    labels = np.zeros(SIZE_WH[::-1], np.uint8)
    labels[30:60, 20 + step_px * index : 50 + step_px * index] = 1
    return labels


def panning(num: int, *, first: int = 0, step_px: int = 3) -> Iterator[Frame]:
    """A texture that goes to the right as a whole, with an object that differs from it."""
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (96, 400), dtype=np.uint8), (0, 0), 2)
    wide = cv2.normalize(wide, np.empty_like(wide), 0, 255, cv2.NORM_MINMAX)
    for ix in range(num):
        shift = 200 - step_px * ix
        image = np.repeat(wide[:, shift : shift + SIZE_WH[0], None], 3, axis=2)
        yield Frame(index=first + ix, time_s=Fraction(ix, 25), image_rgb=np.ascontiguousarray(image))


def iou(report: StreamReport, truth: np.ndarray) -> float:
    return np.count_nonzero(report.prediction & truth) / np.count_nonzero(report.prediction | truth)


def test_flow_moves_labels_with_the_picture_and_held_labels_stay() -> None:
    """The direction of the flow: the other way round, labels go left while the picture goes right."""
    last = list(flow(panning(8), KnownTeacher(moved), every=100, size_wh=SIZE_WH))[-1]
    held = list(hold(panning(8), KnownTeacher(moved), every=100, size_wh=SIZE_WH))[-1]
    assert iou(last, moved(7)) > 0.9
    assert np.array_equal(held.prediction, moved(0))


def test_flow_does_not_drift_where_nothing_moves() -> None:
    """Labels that are resampled in every frame lose single pixels; these are read from the teacher frame itself."""

    def speckled(_: int) -> np.ndarray:
        return (np.random.default_rng(1).random(SIZE_WH[::-1]) < 0.3).astype(np.uint8)

    reports = list(flow(panning(20, step_px=0), KnownTeacher(speckled), every=100, size_wh=SIZE_WH))
    assert np.mean(reports[-1].prediction == speckled(0)) > 0.999


@pytest.mark.parametrize("method", METHODS)
def test_the_prediction_on_a_teacher_frame_does_not_know_the_teacher(method) -> None:
    def said(index: int) -> np.ndarray:  # from frame 4 on, more than what moved: good flow gets all of that right
        labels = moved(index)
        labels[70:90, :20] = index >= 4
        return labels

    reports = list(method(panning(9), KnownTeacher(said), every=4, size_wh=SIZE_WH))
    assert not reports[0].prediction.any()
    assert np.array_equal(reports[0].labels, said(0))
    assert not reports[4].prediction[70:90, :20].any()
    assert np.array_equal(reports[4].labels, said(4))
    assert reports[4].accuracy == pytest.approx(iou(reports[4], said(4)))
    assert reports[3].accuracy is None


@pytest.mark.parametrize("method", METHODS)
def test_the_teacher_runs_on_the_first_frame_and_then_every_so_often(method) -> None:
    teacher = KnownTeacher(lambda _: moved(0))
    reports = list(method(panning(10, first=5), teacher, every=4, size_wh=SIZE_WH))
    assert teacher.asked == [5, 9, 13]
    assert [report.frame for report in reports if report.teacher_ran] == teacher.asked
    assert all("student" in report.timings_ms for report in reports)
    assert all(("teacher" in report.timings_ms) == report.teacher_ran for report in reports)


@pytest.mark.parametrize("method", METHODS)
def test_labels_have_the_students_size_whatever_the_frames(method) -> None:
    reports = list(method(panning(3), KnownTeacher(moved), every=2, size_wh=(64, 48)))
    assert {report.labels.shape for report in reports} == {report.prediction.shape for report in reports} == {(48, 64)}


@pytest.mark.parametrize("method", METHODS)
def test_a_period_of_no_frames_is_refused_at_once(method) -> None:
    with pytest.raises(ConfigError, match="every = 0"):
        method(panning(1), KnownTeacher(moved), every=0, size_wh=SIZE_WH)


def test_a_frozen_student_says_the_same_of_the_same_frame() -> None:
    student = JITNet(2, width=0.25)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    reports = list(frozen(panning(3, step_px=0), student, size_wh=(64, 48)))
    assert [report.updates for report in reports] == [0, 0, 0]
    assert all(np.array_equal(report.prediction, reports[0].prediction) for report in reports)
    assert not any(report.teacher_ran for report in reports)
    assert reports[0].stride == NEVER
    assert all((value == before[name]).all() for name, value in student.state_dict().items())
