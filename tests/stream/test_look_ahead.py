"""Frames that wait for the teacher hear it from both sides."""

import time
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from fakes import TinyStudent
from narrowcast.core.config import to_dict
from narrowcast.core.errors import ConfigError
from narrowcast.core.frames import IGNORE, Frame
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.baselines import flow
from narrowcast.stream.distill import DEFAULT, LOOK_AHEAD, THESIS, DistillConfig, Distiller, distill
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.look_ahead import LookAhead
from narrowcast.stream.moved_labels import MovedLabels
from narrowcast.stream.run import RunConfig
from narrowcast.stream.schedule import StrideSchedule

SIZE_WH = (160, 120)
EVERY = 8
COMES_AT = 3  # the frame on which the thing is there
NUM = 2 * EVERY + 1


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A square that moves to the right over a textured ground; from `COMES_AT` on there is another, which stays."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 90, (24, 32, 3), dtype=np.uint8), SIZE_WH)
    labels = np.zeros(SIZE_WH[::-1], np.uint8)
    mover, comer = (cv2.resize(rng.integers(130, 255, (8, 8, 3), dtype=np.uint8), (30, 30)) for _ in range(2))
    image[20:50, 10 + 2 * index : 40 + 2 * index], labels[20:50, 10 + 2 * index : 40 + 2 * index] = mover, 1
    if index >= COMES_AT:
        image[70:100, 90:120], labels[70:100, 90:120] = comer, 1
    return image, labels


def frames(num: int = NUM) -> list[Frame]:
    return [Frame(index=ix, time_s=Fraction(ix, 25), image_rgb=scene(ix)[0]) for ix in range(num)]


class SceneTeacher:
    """Knows the scene; remembers on which frames it was asked."""

    classes = ("background", "thing")

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        assert frame_index is not None
        self.asked.append(frame_index)
        return TeacherLabels(scene(frame_index)[1])


def iou(labels: np.ndarray, truth: np.ndarray) -> float:
    return np.count_nonzero(labels & truth) / np.count_nonzero(labels | truth)


# --- frames that wait -------------------------------------------------------------------------------------------------


def waited(num: int, *, later: np.ndarray | None = None) -> list[tuple[int, np.ndarray]]:
    """Frames 1 to `num` - 1 between teacher frames 0 and `num`, with the labels that came of them."""
    ahead, moved = LookAhead[int](num), MovedLabels(SIZE_WH)
    moved.follow(scene(0)[0])
    moved.restart(scene(0)[1])
    ahead.close(*scene(0))
    for ix in range(1, num):
        labels = moved.follow(scene(ix)[0])
        assert labels is not None
        assert ahead.wait(ix, scene(ix)[0], labels, moved.origin_xy) == []
    assert len(ahead) == num - 1
    closed = ahead.close(scene(num)[0], scene(num)[1] if later is None else later)
    assert len(ahead) == 0
    return closed


def test_what_comes_into_view_between_two_teacher_frames_is_labelled_from_when_it_is_there() -> None:
    closed = waited(EVERY)
    assert [index for index, _ in closed] == list(range(1, EVERY))
    for index, labels in closed:
        share = labels[70:100, 90:120].mean()
        assert share > 0.9 if index >= COMES_AT else share < 0.1, index
        assert iou(labels[:60], scene(index)[1][:60]) > 0.85, index


def test_what_the_teacher_does_not_know_later_stays_as_it_was() -> None:
    unknown = np.full(SIZE_WH[::-1], IGNORE, np.uint8)
    for index, labels in waited(EVERY, later=unknown):
        assert labels.max() == 1
        assert iou(labels[:60], scene(index)[1][:60]) > 0.7


def test_labels_that_come_from_nowhere_are_those_of_the_later_frame() -> None:
    """Before the teacher was first heard, whatever it says is better."""
    ahead, nothing = LookAhead[str](9), np.zeros(SIZE_WH[::-1], np.uint8)
    still, labels = scene(5)
    ahead.wait("first", still, nothing, np.zeros((*SIZE_WH[::-1], 2), np.float32))
    ((item, found),) = ahead.close(still, labels)
    assert item == "first"
    np.testing.assert_array_equal(found, labels)


def test_no_more_frames_wait_than_may() -> None:
    ahead = LookAhead[int](2)
    image, labels = scene(0)
    origin = np.zeros((*SIZE_WH[::-1], 2), np.float32)
    assert [ahead.wait(ix, image, labels, origin) for ix in range(4)] == [[], [], [0], [1]]
    assert (len(ahead), ahead.rest(), len(ahead)) == (2, [2, 3], 0)


# --- distillation -----------------------------------------------------------------------------------------------------

EVEN = StrideSchedule(min_stride=EVERY, max_stride=EVERY)


def labelled(config: DistillConfig, source: list[Frame]) -> tuple[list[int], list[float]]:
    """Where the teacher was asked, and each frame's IoU."""
    teacher = SceneTeacher()
    reports = list(distill(source, TinyStudent(), teacher, config=config))
    assert [report.frame for report in reports] == [frame.index for frame in source]
    return teacher.asked, [iou(report.labels, scene(report.frame)[1]) for report in reports]


def test_looking_ahead_asks_the_same_and_labels_better() -> None:
    asked, plain = labelled(replace(DEFAULT, schedule=EVEN), frames())
    asked_too, ahead = labelled(replace(LOOK_AHEAD, schedule=EVEN), frames())
    assert asked == asked_too == [0, 8, 16]
    assert np.mean(plain[COMES_AT:EVERY]) < 0.6
    assert min(ahead) > 0.85
    assert ahead[::EVERY] == [1.0, 1.0, 1.0]


def test_frames_after_the_last_teacher_frame_have_what_is_known_of_them() -> None:
    _, plain = labelled(replace(DEFAULT, schedule=EVEN), frames(NUM - 1))
    _, ahead = labelled(replace(LOOK_AHEAD, schedule=EVEN), frames(NUM - 1))
    assert ahead[EVERY:] == plain[EVERY:]


def test_nothing_is_said_across_a_gap() -> None:
    """Of the frames before it the labels stay as they were, though the teacher is asked right behind it."""
    source = frames()
    source[5] = replace(source[5], is_after_gap=True)
    asked, ahead = labelled(replace(LOOK_AHEAD, schedule=EVEN), source)
    assert asked == [0, 5, 13]
    _, plain = labelled(replace(DEFAULT, schedule=EVEN), source)
    assert ahead[:5] == plain[:5]
    assert sum(ahead[6:13]) > sum(plain[6:13])


def test_it_goes_on_exactly_from_its_state_after_a_teacher_frame() -> None:
    config = replace(LOOK_AHEAD, schedule=EVEN)

    def fresh() -> Distiller:
        return Distiller(TinyStudent(), SceneTeacher(), config, size_wh=None, device=torch.device("cpu"))

    whole, before, after = fresh(), fresh(), fresh()
    expected = [done for frame in frames() for done in whole.take(frame)]
    done = [report for frame in frames()[: EVERY + 1] for report in before.take(frame)]
    assert before.num_waiting == 0
    after.load_state(*before.state(), source="a")
    done += [report for frame in frames()[EVERY + 1 :] for report in after.take(frame)]
    assert len(done) == len(expected) == NUM
    for (_, found), (_, report) in zip(done, expected, strict=True):
        np.testing.assert_array_equal(found.labels, report.labels)


def test_the_time_that_it_took_is_in_the_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    close, took_s = LookAhead.close, 0.3

    def slow(*arguments):
        time.sleep(took_s)
        return close(*arguments)

    monkeypatch.setattr(LookAhead, "close", slow)
    reports = list(distill(frames(), TinyStudent(), SceneTeacher(), config=replace(LOOK_AHEAD, schedule=EVEN)))
    looks = sum(report.teacher_ran for report in reports) - 1  # before the first there is nothing to close
    assert sum(report.timings_ms["student"] for report in reports) > looks * took_s * 1e3 > 0


def test_flow_can_look_ahead_too() -> None:
    size_wh, teacher = SIZE_WH, SceneTeacher()
    plain = list(flow(frames(), SceneTeacher(), every=EVERY, size_wh=size_wh))
    ahead = list(flow(frames(), teacher, every=EVERY, size_wh=size_wh, looks_ahead=True))
    assert teacher.asked == [0, 8, 16]
    assert [report.frame for report in ahead] == [report.frame for report in plain]
    found, held = (
        np.mean([iou(report.labels, scene(report.frame)[1]) for report in reports]) for reports in (ahead, plain)
    )
    assert found > held + 0.1


# --- bad settings -----------------------------------------------------------------------------------------------------


def test_labels_that_are_not_moved_cannot_wait() -> None:
    with pytest.raises(ConfigError, match="needs moved labels"):
        replace(THESIS, look_ahead=8)
    with pytest.raises(ConfigError, match="must not be negative"):
        replace(DEFAULT, look_ahead=-1)


def test_a_live_stream_does_not_wait() -> None:
    with pytest.raises(ConfigError, match="--live"):
        RunConfig(source="a", teacher="b", distill=LOOK_AHEAD, live=LiveConfig())
    assert to_dict(LOOK_AHEAD)["look_ahead"] == 64
