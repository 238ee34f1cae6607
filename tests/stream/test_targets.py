"""Labels and pixel weights of section 2.2.2, against loops over pixels."""

import numpy as np
import pytest

from fakes import flat_labels
from narrowcast.core.frames import IGNORE
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.targets import (
    MIN_COMPONENT_PX,
    component_boxes,
    dilate,
    pixel_weights,
    resize_labels,
    targets,
)


def weights_by_pixel(labels: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
    """Weight 5 for a pixel that a box reaches whose sides are 15% longer about its centre; 0 for unknown pixels."""
    weights = np.ones_like(labels)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            for x0, y0, x1, y1 in boxes_xyxy.astype(float):
                half_width, half_height = 1.15 * (x1 - x0) / 2, 1.15 * (y1 - y0) / 2
                across, down = (x0 + x1) / 2, (y0 + y1) / 2
                if (
                    x + 1 > across - half_width + 1e-5
                    and x < across + half_width - 1e-5
                    and y + 1 > down - half_height + 1e-5
                    and y < down + half_height - 1e-5
                ):
                    weights[y, x] = 5
            if labels[y, x] == IGNORE:
                weights[y, x] = 0
    return weights


@pytest.mark.parametrize("seed", range(5))
def test_weights_agree_with_a_loop_over_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), (31, 45))
    corners = rng.uniform(-8, 50, (4, 2, 2))  # some reach beyond the frame
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(pixel_weights(labels, boxes), weights_by_pixel(labels, boxes))


def test_a_box_gains_15_percent_of_its_sides() -> None:
    weights = pixel_weights(flat_labels(), np.array([[20, 10, 40, 30]], np.float32))
    rows, columns = np.nonzero(weights == 5)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (8, 32, 18, 42)  # ±1.5, whole pixels
    assert set(np.unique(weights)) == {1, 5}


def test_boxes_that_overlap_weigh_five_not_more() -> None:
    boxes = np.array([[10, 10, 30, 30], [20, 20, 40, 40]], np.float32)
    assert pixel_weights(flat_labels(), boxes).max() == 5


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([-50, -50, -10, -10], id="beyond the corner"),
        pytest.param([70, 10, 90, 20], id="right of the frame"),
        pytest.param([10, -30, 20, -5], id="above the frame"),
    ],
)
def test_a_box_outside_of_the_frame_weighs_nothing(box: list[float]) -> None:
    """A box beyond the left or upper edge ended at a negative index, and most of the frame weighed five."""
    assert (pixel_weights(flat_labels(), np.array([box], np.float32)) == 1).all()


def test_without_boxes_every_known_pixel_weighs_one() -> None:
    labels = flat_labels(unknown=(slice(0, 4), slice(0, 4), IGNORE))
    weights = pixel_weights(labels, np.zeros((0, 4), np.float32))
    np.testing.assert_array_equal(weights, labels != IGNORE)


def test_dilation_keeps_the_centre() -> None:
    boxes = np.array([[0, 0, 100, 20], [5, 5, 5, 5]], np.float32)
    np.testing.assert_allclose(dilate(boxes), [[-7.5, -1.5, 107.5, 21.5], [5, 5, 5, 5]])


def test_components_become_boxes() -> None:
    labels = flat_labels(
        left=(slice(2, 10), slice(3, 9), 1),
        right=(slice(20, 30), slice(40, 64), 1),  # the same class elsewhere: a box of its own
        touching=(slice(20, 30), slice(30, 40), 2),  # another class next to it: a box of its own
    )
    boxes = component_boxes(labels)
    assert sorted(boxes.tolist()) == [[3, 2, 9, 10], [30, 20, 40, 30], [40, 20, 64, 30]]


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    labels = flat_labels(upper=(slice(0, 5), slice(0, 5), 1), lower=(slice(5, 10), slice(5, 10), 1))
    assert component_boxes(labels).tolist() == [[0, 0, 10, 10]]


@pytest.mark.parametrize(("pixels", "num_boxes"), [(MIN_COMPONENT_PX - 1, 0), (MIN_COMPONENT_PX, 1)])
def test_specks_get_no_box(pixels: int, num_boxes: int) -> None:
    assert len(component_boxes(flat_labels(speck=(slice(5, 6), slice(0, pixels), 1)))) == num_boxes


def test_background_and_unknown_have_no_components() -> None:
    assert component_boxes(flat_labels(IGNORE, back=(slice(0, 20), slice(0, 20), 0))).shape == (0, 4)


def test_labels_are_resized_without_new_values() -> None:
    labels = flat_labels(one=(slice(0, 24), slice(0, 32), 2), other=(slice(24, 48), slice(32, 64), IGNORE))
    small = resize_labels(labels, (32, 24))
    assert small.shape == (24, 32)
    assert small[0, 0] == 2
    assert small[-1, -1] == IGNORE
    assert set(np.unique(small)) == {0, 2, IGNORE}


def test_labels_of_the_right_size_are_not_copied() -> None:
    labels = flat_labels()
    assert resize_labels(labels, (64, 48)) is labels


def test_a_teachers_boxes_follow_the_labels_to_the_students_size() -> None:
    labels = flat_labels(box=(slice(16, 32), slice(24, 40), 1))
    answer = TeacherLabels(labels, np.array([[24, 16, 40, 32]], np.float32))
    small, weights = targets(answer, (32, 12))  # halved across, quartered down
    assert small.shape == weights.shape == (12, 32)
    np.testing.assert_array_equal(weights, weights_by_pixel(small, np.array([[12, 4, 20, 8]], np.float32)))


def test_a_teacher_without_instances_has_its_components_weighed() -> None:
    labels = flat_labels(box=(slice(16, 32), slice(24, 40), 1))
    _, weights = targets(TeacherLabels(labels), (64, 48))
    np.testing.assert_array_equal(weights, weights_by_pixel(labels, np.array([[24, 16, 40, 32]], np.float32)))


def test_a_teacher_with_instances_that_sees_none_has_no_boxes() -> None:
    """An empty list of instances is an answer; only None sends us looking for components."""
    labels = flat_labels(box=(slice(16, 32), slice(24, 40), 1))
    _, weights = targets(TeacherLabels(labels, np.zeros((0, 4), np.float32)), (64, 48))
    assert (weights == 1).all()
