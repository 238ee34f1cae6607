import numpy as np
import pytest

from narrowcast.video.palette import _as_seen, palette


def test_background_is_black_and_a_class_keeps_its_colour() -> None:
    assert palette(1).tolist() == [[0, 0, 0]]
    np.testing.assert_array_equal(palette(5), palette(256)[:5])


@pytest.mark.parametrize(
    ("num_classes", "least"),
    [pytest.param(8, 10, id="the first seven"), pytest.param(22, 8, id="VOC"), pytest.param(256, 1, id="all")],
)
def test_colours_differ_to_every_eye(num_classes: int, least: float) -> None:
    """The distance is CIE76 in Lab; 2.3 is a just noticeable difference."""
    for seen in _as_seen(palette(num_classes)):
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
        assert apart[~np.eye(num_classes, dtype=bool)].min() > least


def test_the_palette_given_out_may_be_changed() -> None:
    palette(3)[1] = 0
    assert palette(3)[1].any()
