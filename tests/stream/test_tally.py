import numpy as np
import pytest

from fakes import CLASSES, flat_labels, plain_frames, shapes
from narrowcast.metrics.segmentation import confusion_matrix, mean_iou
from narrowcast.stream.baselines import hold
from narrowcast.stream.tally import Flicker, Tally, WorstWindow

LEFT = (slice(0, 48), slice(0, 32), 1)
RIGHT = (slice(0, 48), slice(32, 64), 1)


def test_the_worst_window_is_the_worst_of_all_windows() -> None:
    rng = np.random.default_rng(0)
    window, matrices = WorstWindow(3, width_s=4), []
    for frame in range(60):  # 5 frames a second, 12 seconds
        labels, prediction = rng.integers(0, 3, (2, 6, 8), dtype=np.uint8)
        matrices.append(confusion_matrix(prediction, labels, 3))
        window.add(frame / 5, matrices[-1])
    slow = [mean_iou(sum(matrices[start * 5 : start * 5 + 20], np.zeros((3, 3), int))) for start in range(9)]
    assert window.found() == {"start_s": float(np.argmin(slow)), "miou": pytest.approx(min(slow))}


def test_a_stream_shorter_than_a_window_is_one_window() -> None:
    window = WorstWindow(2)
    assert window.found() is None
    window.add(0.5, np.array([[10, 0], [0, 0]]))
    assert window.found() is None  # nothing to be seen
    window.add(2.5, np.array([[10, 5], [0, 5]]))
    assert window.found() == {"start_s": 0.0, "miou": 0.5}


def test_labels_that_change_on_a_still_picture_flicker() -> None:
    frame = plain_frames(1)[0]
    still, jumps = Flicker(), Flicker()
    for ix in range(4):
        still.add(frame, flat_labels(one=LEFT))
        jumps.add(frame, flat_labels(one=LEFT if ix % 2 else RIGHT))
    assert still.share == 0.0
    assert jumps.share == 1.0
    assert Flicker().share is None


def test_labels_that_move_with_the_picture_do_not_flicker() -> None:
    frames, labels = shapes(12)
    moving, jumping = Flicker(), Flicker()
    for ix, (frame, truth) in enumerate(zip(frames, labels, strict=True)):
        moving.add(frame, truth)
        jumping.add(frame, np.roll(truth, 12 * (ix % 2), axis=1))
    assert moving.share is not None
    assert jumping.share is not None
    assert moving.share < 0.1 < jumping.share


def test_every_method_puts_out_the_teachers_labels_in_one_of_the_scores() -> None:
    """Their own outputs are another score: as printed, Algorithm 1 does not put out what the teacher said."""
    frames, truths = shapes(8)

    class Teacher:
        classes = CLASSES

        def __call__(self, image_rgb, *, frame_index=None):
            from narrowcast.models.teacher import TeacherLabels

            return TeacherLabels(truths[frame_index])

    tally = Tally(CLASSES)
    for frame, truth, report in zip(frames, truths, hold(frames, Teacher(), every=1, size_wh=(64, 48)), strict=True):
        tally.add(frame, report, truth)
    found = tally.accuracy()
    assert found["miou_pooled_with_teacher_labels"] == 1.0
    assert found["miou_pooled"] < 1.0  # predicted from the frame before
    assert found["miou_pooled_without_teacher_frames"] is None
    assert tally.teacher_frames == 8
    assert tally.median_ms("update") is None
    assert tally.sum_s("teacher") > 0
