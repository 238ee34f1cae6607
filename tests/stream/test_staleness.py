"""How stale moved labels are thought to be."""

import cv2
import numpy as np

from fakes import same_tensors
from narrowcast.stream.moved_labels import MovedLabels
from narrowcast.stream.staleness import DIFFERENT, LEAST_AREA, Staleness

SIZE_WH = (96, 64)
GROUND = cv2.resize(np.random.default_rng(0).integers(90, 160, (8, 12, 3), dtype=np.uint8), SIZE_WH)


def scene(*, box: tuple[int, int, int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The ground, with a white box (x0, y0, x1, y1) or without, and its labels."""
    image, labels = GROUND.copy(), np.zeros(SIZE_WH[::-1], np.uint8)
    if box is not None:
        x0, y0, x1, y1 = box
        image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = 255, 1
    return image, labels


def seen(*, box: tuple[int, int, int, int] | None = None) -> tuple[Staleness, MovedLabels]:
    """A stream whose teacher has just looked."""
    staleness, moved = Staleness(), MovedLabels(SIZE_WH)
    image, labels = scene(box=box)
    staleness.follow(image, moved.follow(image), moved.origin_xy)
    moved.restart(labels)
    staleness.restart(staleness.asked(), None)
    return staleness, moved


def show(staleness: Staleness, moved: MovedLabels, image: np.ndarray) -> float:
    staleness.follow(image, moved.follow(image), moved.origin_xy)
    return staleness.error


def slow_error(before: np.ndarray, now: np.ndarray, labels: np.ndarray) -> float:
    """The error for a picture in which nothing moved, pixel by pixel: changed pixels whose neighbours all changed."""
    small = [
        cv2.GaussianBlur(
            cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
            (3, 3),
            0,
        ).astype(int)
        for image in (before, now)
    ]
    different = np.abs(small[0] - small[1]) > DIFFERENT
    height, width = different.shape
    new = np.mean(
        [different[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].all() for y in range(height) for x in range(width)]
    )
    return float(new / (new + (labels > 0).mean() + LEAST_AREA)) if new > LEAST_AREA else 0.0


def test_nothing_new_is_no_error() -> None:
    staleness, moved = seen(box=(10, 10, 30, 40))
    for _ in range(5):
        assert show(staleness, moved, scene(box=(10, 10, 30, 40))[0]) == 0
    assert staleness.total == 0


def test_what_comes_into_an_empty_scene_is_an_error_at_once_and_adds_up() -> None:
    staleness, moved = seen()
    first = show(staleness, moved, scene(box=(40, 20, 60, 50))[0])
    assert first > 0.9
    second = show(staleness, moved, scene(box=(40, 20, 60, 50))[0])
    assert staleness.total == first + second


def test_the_error_is_that_of_a_slow_version() -> None:
    staleness, moved = seen(box=(10, 10, 30, 40))
    before, now = scene(box=(10, 10, 30, 40))[0], scene(box=(10, 10, 30, 40))[0]
    now[30:60, 50:90] = 255
    labels = scene(box=(10, 10, 30, 40))[1]
    staleness.follow(now, labels, moved.origin_xy)  # nothing has moved: where pixels were is where they are
    assert staleness.error == slow_error(before, now, labels) > 0.2


def test_changes_that_the_teacher_does_not_mind_count_less() -> None:
    staleness, moved = seen()
    blinking = scene(box=(40, 20, 60, 50))[0]
    errors = []
    for _ in range(12):
        errors.append(show(staleness, moved, blinking))
        staleness.restart(staleness.asked(), 0.0)  # nothing was wrong
        moved.restart(np.zeros(SIZE_WH[::-1], np.uint8))
        show(staleness, moved, scene()[0])
        staleness.restart(staleness.asked(), 0.0)
        moved.restart(np.zeros(SIZE_WH[::-1], np.uint8))
    assert errors[-1] < 0.2 * errors[0]


def test_it_goes_on_exactly_and_forgets() -> None:
    staleness, moved = seen(box=(10, 10, 30, 40))
    show(staleness, moved, scene(box=(50, 10, 70, 40))[0])
    resumed = Staleness()
    resumed.load(staleness.tensors(), staleness.state())
    assert resumed.state() == staleness.state()
    assert same_tensors(resumed.tensors(), staleness.tensors())
    staleness.forget()
    assert staleness.total == staleness.error == 0
    assert show(staleness, moved, scene()[0]) == 0  # nothing to compare with
