from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from narrowcast.core.errors import UsageError
from narrowcast.video.palette import palette
from narrowcast.video.synth import moving_shapes


def test_the_same_seed_gives_the_same_stream() -> None:
    one, two = (list(moving_shapes(num_frames=12, seed=3, cut_every=5)) for _ in range(2))
    for (frame, labels), (again, labels_again) in zip(one, two, strict=True):
        np.testing.assert_array_equal(frame.image_rgb, again.image_rgb)
        np.testing.assert_array_equal(labels, labels_again)
    other = next(moving_shapes(num_frames=1, seed=4))[0]
    assert (one[0][0].image_rgb != other.image_rgb).any()


def test_frames_are_numbered_and_timed() -> None:
    frames = [frame for frame, _ in moving_shapes(num_frames=4, size_wh=(33, 21), fps=Fraction(30000, 1001))]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert frames[3].time_s == Fraction(3003, 30000)
    assert frames[0].image_rgb.shape == (21, 33, 3)


def test_labels_are_exact() -> None:
    """A pixel of a class has that class's colour, up to its shade and the noise; the ground is duller than any."""
    for frame, labels in moving_shapes(num_frames=20, num_classes=4, seed=1):
        assert set(np.unique(labels)) <= {0, 1, 2, 3}
        for label in (1, 2, 3):
            pixels = frame.image_rgb[labels == label].astype(float)
            color = palette(4)[label].astype(float)
            shade = np.abs(pixels[:, None] - color * np.linspace(0.8, 1, 21)[:, None]).max(axis=2).min(axis=1)
            assert (shade <= 16).all()


def test_every_class_appears_and_shapes_move() -> None:
    maps = np.stack([labels for _, labels in moving_shapes(num_frames=60, num_classes=5)])
    assert set(np.unique(maps)) == {0, 1, 2, 3, 4}
    assert (maps[0] != maps[30]).mean() > 0.05
    assert (maps[0] != maps[1]).mean() < 0.05


def test_a_cut_changes_the_ground() -> None:
    images = [frame.image_rgb.astype(int) for frame, _ in moving_shapes(num_frames=12, cut_every=6)]
    steps = [np.abs(late - early).mean() for early, late in pairwise(images)]
    assert int(np.argmax(steps)) == 5
    assert steps[5] > 2 * sorted(steps)[-2]


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"num_classes": 99}, {"size_wh": (4, 4)}, {"cut_every": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="moving_shapes"):
        next(moving_shapes(**{"num_frames": 2, **wrong}))
