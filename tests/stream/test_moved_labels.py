"""Labels that follow the picture."""

import cv2
import numpy as np
import pytest
import torch

from fakes import same_tensors
from narrowcast.stream.moved_labels import MovedLabels

SIZE_WH = (192, 128)


def scene(shift_px: int, *, size_wh: tuple[int, int] = SIZE_WH) -> tuple[np.ndarray, np.ndarray]:
    """A textured square that has moved to the right over a textured ground, and its labels."""
    width, height = size_wh
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 80, (height // 8, width // 8, 3), dtype=np.uint8), (width, height))
    square = cv2.resize(rng.integers(120, 255, (10, 10, 3), dtype=np.uint8), (60, 60))
    labels = np.zeros((height, width), np.uint8)
    image[30:90, 16 + shift_px : 76 + shift_px] = square
    labels[30:90, 16 + shift_px : 76 + shift_px] = 2
    return image, labels


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    return ((ours == 2) & (theirs == 2)).sum() / ((ours == 2) | (theirs == 2)).sum()


def test_there_is_nothing_before_the_first_labels() -> None:
    moved = MovedLabels(SIZE_WH)
    assert moved.follow(scene(0)[0]) is None
    assert moved.follow(scene(2)[0]) is None


def test_labels_follow_what_moves() -> None:
    moved = MovedLabels(SIZE_WH)
    moved.follow(scene(0)[0])
    moved.restart(scene(0)[1])
    for shift_px in range(2, 32, 2):
        labels = moved.follow(scene(shift_px)[0])
        assert labels is not None
    (_, held), (_, truth) = scene(0), scene(30)
    assert iou(labels, truth) > 0.75
    assert iou(held, truth) < 0.4


def test_a_still_picture_leaves_labels_where_they_are() -> None:
    moved = MovedLabels(SIZE_WH)
    moved.follow(scene(0)[0])
    moved.restart(scene(0)[1])
    for _ in range(5):
        labels = moved.follow(scene(0)[0])
        assert labels is not None
    np.testing.assert_array_equal(labels, scene(0)[1])


def test_it_goes_on_exactly_from_its_tensors() -> None:
    straight = MovedLabels(SIZE_WH)
    straight.follow(scene(0)[0])
    straight.restart(scene(0)[1])
    straight.follow(scene(3)[0])
    resumed = MovedLabels(SIZE_WH)
    resumed.load(straight.tensors())
    for shift_px in (6, 9):
        expected = straight.follow(scene(shift_px)[0])
        assert expected is not None
        np.testing.assert_array_equal(resumed.follow(scene(shift_px)[0]), expected)
    assert same_tensors(resumed.tensors(), straight.tensors())


def test_it_goes_on_from_before_the_first_labels() -> None:
    moved = MovedLabels(SIZE_WH)
    moved.follow(scene(0)[0])
    resumed = MovedLabels(SIZE_WH)
    resumed.load(moved.tensors())
    assert resumed.follow(scene(2)[0]) is None


@pytest.mark.parametrize("size_wh", [(40, 8), (8, 40), (1280, 24), (33, 31), (1, 1), (300, 17)], ids=str)
def test_any_size_of_frame_can_be_followed(size_wh: tuple[int, int]) -> None:
    """OpenCV's DIS ended the process on frames of a few pixels' height, and on very wide ones."""
    rng = np.random.default_rng(0)
    moved = MovedLabels(size_wh)
    image = rng.integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    moved.follow(image)
    moved.restart(np.ones(size_wh[::-1], np.uint8))
    labels = moved.follow(image)
    assert labels is not None
    assert labels.shape == size_wh[::-1]
    assert (labels == 1).all()


def test_its_tensors_are_copies() -> None:
    moved = MovedLabels(SIZE_WH)
    moved.follow(scene(0)[0])
    moved.restart(scene(0)[1])
    tensors = {name: value.clone() for name, value in moved.tensors().items()}
    kept = moved.tensors()
    moved.follow(scene(5)[0])
    assert torch.equal(kept["moved.grey"], tensors["moved.grey"])


def test_labels_that_come_late_lie_where_those_that_came_at_once_lie() -> None:
    """A frame is marked, others follow, and then its labels come: as if they had been there from the start."""
    frames, labels = zip(*(scene(2 * shift) for shift in range(8)), strict=True)
    late, at_once = MovedLabels(SIZE_WH), MovedLabels(SIZE_WH)
    for moved in (late, at_once):
        moved.follow(frames[0])
        moved.follow(frames[1])
    late.mark()
    at_once.restart(labels[1])
    for frame in frames[2:6]:
        assert late.follow(frame) is None
        at_once.follow(frame)
    late.adopt(labels[1])
    for frame in frames[6:]:
        np.testing.assert_array_equal(late.follow(frame), at_once.follow(frame))


def test_the_labels_before_are_followed_while_others_are_on_their_way() -> None:
    frames, labels = zip(*(scene(2 * shift) for shift in range(6)), strict=True)
    with_mark, without = MovedLabels(SIZE_WH), MovedLabels(SIZE_WH)
    for moved in (with_mark, without):
        moved.follow(frames[0])
        moved.restart(labels[0])
    for ix, frame in enumerate(frames[1:]):
        np.testing.assert_array_equal(with_mark.follow(frame), without.follow(frame))
        if ix == 1:
            with_mark.mark()


def test_labels_have_an_age_that_survives() -> None:
    """Frames since the labelled one, also where the labels come late."""
    image, labels = scene(0)
    moved = MovedLabels(SIZE_WH)
    moved.follow(image)
    moved.restart(labels)
    for _ in range(3):
        moved.follow(image)
    assert moved.age == 3
    moved.mark()
    moved.follow(image)
    assert moved.age == 4
    resumed = MovedLabels(SIZE_WH)
    resumed.load(moved.tensors())
    assert resumed.age == 4
    moved.follow(image)
    moved.adopt(labels)
    assert moved.age == 2
