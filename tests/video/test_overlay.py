import numpy as np
import pytest

from narrowcast.core.errors import ShapeError, UsageError
from narrowcast.video.overlay import draw_caption, draw_legend, overlay, side_by_side
from narrowcast.video.palette import palette


@pytest.fixture
def image_rgb(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 20:50] = 1
    labels[30:50, 20:50] = 2
    labels[0:5, 60:80] = 255
    return labels


def slow_overlay(image_rgb: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
    drawn, colors = image_rgb.copy(), palette(256)
    shown = np.where(labels == 255, 0, labels)
    for y, x in np.argwhere(shown):
        around = [
            shown[v, u] for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)) if 0 <= v < 60 and 0 <= u < 80
        ]
        is_rim = min(around) < shown[y, x]
        color = colors[shown[y, x]].astype(float)
        drawn[y, x] = color if is_rim else np.rint((1 - alpha) * image_rgb[y, x] + alpha * color)
    return drawn


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_overlay_equals_the_slow_one(image_rgb: np.ndarray, labels: np.ndarray, alpha: float) -> None:
    np.testing.assert_allclose(overlay(image_rgb, labels, alpha=alpha), slow_overlay(image_rgb, labels, alpha), atol=1)


def test_labels_at_the_border_are_tinted_too(image_rgb: np.ndarray) -> None:
    labels = np.ones((60, 80), np.uint8)
    np.testing.assert_allclose(overlay(image_rgb, labels), slow_overlay(image_rgb, labels, 0.5), atol=1)


def test_background_unknown_and_the_inputs_stay_untouched(image_rgb: np.ndarray, labels: np.ndarray) -> None:
    image_before, labels_before = image_rgb.copy(), labels.copy()
    drawn = overlay(image_rgb, labels)
    is_clear = (labels == 0) | (labels == 255)
    np.testing.assert_array_equal(drawn[is_clear], image_rgb[is_clear])
    np.testing.assert_array_equal(image_rgb, image_before)
    np.testing.assert_array_equal(labels, labels_before)
    assert not np.shares_memory(overlay(image_rgb, np.zeros_like(labels)), image_rgb)


def test_smaller_labels_are_enlarged_without_mixing(image_rgb: np.ndarray, labels: np.ndarray) -> None:
    small = labels[::2, ::2].copy()
    np.testing.assert_array_equal(overlay(image_rgb, small), overlay(image_rgb, small.repeat(2, 0).repeat(2, 1)))


def test_bad_input_is_refused(image_rgb: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(UsageError, match="alpha is 2"):
        overlay(image_rgb, labels, alpha=2)
    with pytest.raises(ShapeError, match="expected an image"):
        overlay(image_rgb, labels.astype(np.int64))  # type: ignore[arg-type]


def test_side_by_side_scales_the_right_image(image_rgb: np.ndarray) -> None:
    both = side_by_side(image_rgb, image_rgb[::2, ::2])
    assert both.shape == (60, 160, 3)
    np.testing.assert_array_equal(both[:, :80], image_rgb)


@pytest.mark.parametrize("text", ["frame 12", "été à Genève 99 %", "", "a text much longer than the image is wide" * 3])
def test_a_caption_darkens_a_corner_and_writes_on_it(text: str) -> None:
    image_rgb = np.full((120, 160, 3), 100, np.uint8)
    drawn = draw_caption(image_rgb, text)
    assert drawn.shape == image_rgb.shape
    assert (image_rgb == 100).all()
    assert (drawn[60:] == 100).all()
    assert drawn.min() < 60
    assert (drawn.max() > 200) == bool(text)


def test_a_legend_shows_every_class_in_its_colour() -> None:
    drawn = draw_legend(np.full((240, 320, 3), 100, np.uint8), ("background", "person", "car"))
    for color in palette(3)[1:]:
        assert (np.abs(drawn.astype(int) - color).max(axis=2) < 60).sum() > 20
    assert draw_legend(np.zeros((20, 20, 3), np.uint8), [f"class {k}" for k in range(30)]).shape == (20, 20, 3)
    assert draw_legend(np.zeros((20, 20, 3), np.uint8), ("background",)).shape == (20, 20, 3)
