"""Votes over scales, mirrors and tiles."""

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError
from narrowcast.models.augmented import AugmentedTeacher
from narrowcast.models.teacher import TeacherLabels


class Brightness:
    """Labels pixels brighter than 200 with 1; counts its calls."""

    classes = ("background", "bright")

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, image_rgb, *, frame_index=None) -> TeacherLabels:
        self.shapes.append(image_rgb.shape)
        return TeacherLabels((image_rgb[..., 0] > 200).astype(np.uint8))


class Scripted:
    """Answers with one constant label after another."""

    classes = ("background", "one", "two")

    def __init__(self, *answers: int) -> None:
        self._answers = iter(answers)

    def __call__(self, image_rgb, *, frame_index=None) -> TeacherLabels:
        return TeacherLabels(np.full(image_rgb.shape[:2], next(self._answers), np.uint8))


@pytest.fixture
def image() -> np.ndarray:
    image = np.zeros((61, 97, 3), np.uint8)
    image[10:40, 20:50] = 255
    return image


@pytest.mark.parametrize(
    ("settings", "num_views"),
    [
        pytest.param({"flip": False}, 1, id="nothing asked, one call"),
        pytest.param({}, 2, id="a mirror is the default"),
        pytest.param({"scales": (1.0, 0.65)}, 4, id="two scales, mirrored"),
        pytest.param({"tiles": (2, 2)}, 10, id="whole and four tiles, mirrored"),
        pytest.param({"tiles": (3, 1), "flip": False}, 4, id="three columns"),
    ],
)
def test_views_come_back_to_their_place(image, settings, num_views) -> None:
    teacher = Brightness()
    labels = AugmentedTeacher(teacher, **settings)(image).labels
    assert len(teacher.shapes) == num_views
    wrong = (labels != (image[..., 0] > 200)).sum()
    assert wrong <= (0 if "scales" not in settings else 200)  # a shrunk view moves an edge by a pixel


@pytest.mark.parametrize("size_wh", [(97, 61), (2, 2), (1280, 720), (5, 300)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_tiles_cover_every_pixel(size_wh, overlap) -> None:
    seen = np.zeros((size_wh[1], size_wh[0]), int)
    tiled = AugmentedTeacher(Brightness(), tiles=(2, 2), overlap=overlap, flip=False)
    for view in tiled.views(*size_wh):
        x0, y0, x1, y1 = view.box_xyxy
        assert 0 <= x0 < x1 <= size_wh[0]
        assert 0 <= y0 < y1 <= size_wh[1]
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 2  # the whole image and at least one tile


@pytest.mark.parametrize(
    ("answers", "least_share", "label"),
    [
        pytest.param((1, 0), 0.0, 1, id="a tie goes to the foreground"),
        pytest.param((2, 1), 0.0, 1, id="a tie in the foreground goes to the first class"),
        pytest.param((1, 0), 0.51, 255, id="no majority is unknown"),
        pytest.param((0, 0), 0.51, 0, id="agreement on nothing is background"),
        pytest.param((255, 0), 0.0, 255, id="not knowing outweighs background"),
        pytest.param((255, 1), 0.0, 1, id="but not a class"),
    ],
)
def test_votes(answers, least_share, label) -> None:
    teacher = AugmentedTeacher(Scripted(*answers), least_share=least_share)
    assert (teacher(np.zeros((4, 6, 3), np.uint8)).labels == label).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"scales": ()},
        {"scales": (1.5,)},
        {"scales": (0.0,)},
        {"tiles": (0, 2)},
        {"overlap": 1.0},
        {"least_share": 1.1},
        {"tiles": (12, 12)},
    ],
    ids=str,
)
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match=r"\[augment\]"):
        AugmentedTeacher(Brightness(), **settings)
