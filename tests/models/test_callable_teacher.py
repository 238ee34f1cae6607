"""A user's function is a teacher, and what it gets wrong is said in one line."""

from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, NarrowcastError, ShapeError, UsageError
from narrowcast.models.callable_teacher import CallableTeacher, load_callable
from tiny_networks import noise

CLASSES = ("background", "person", "car")
IMAGE = noise(6, 8)
MODULE = """
import numpy as np
CLASSES = ["background", "person"]
def labels(image): return np.ones(image.shape[:2], bool)
def other(image): return np.zeros(image.shape[:2], int)
other.classes = ("background", "dog", "cat")
def texted(image): return image
texted.classes = "dog"
number = 3
"""


def teach(answer) -> CallableTeacher:
    return CallableTeacher(lambda image: answer, classes=CLASSES, name="mine:labels")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, bool])
def test_integers_of_any_width_are_labels(dtype) -> None:
    answer = teach(np.ones((6, 8), dtype))(IMAGE)
    assert answer.labels.dtype == np.uint8
    assert (answer.labels == 1).all()
    assert answer.boxes_xyxy is None


def test_unknown_is_allowed() -> None:
    assert (teach(np.full((6, 8), 255))(IMAGE).labels == 255).all()


@pytest.mark.parametrize(("boxes", "num"), [([[0, 0, 4, 4]], 1), ([], 0), (np.zeros((2, 4)), 2)])
def test_boxes_may_come_along(boxes, num: int) -> None:
    answer = teach((np.zeros((6, 8), int), boxes))(IMAGE)
    assert answer.boxes_xyxy is not None
    assert (answer.boxes_xyxy.shape, answer.boxes_xyxy.dtype) == ((num, 4), np.float32)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(np.zeros((6, 8)), "labels are float64; expected integers", id="floats"),
        pytest.param(None, "labels are object", id="nothing"),
        pytest.param(np.zeros((8, 6), int), r"shape \(8, 6\); expected the image's, \(6, 8\)", id="turned"),
        pytest.param(np.zeros((3, 6, 8), int), r"shape \(3, 6, 8\)", id="logits"),
        pytest.param(np.full((6, 8), 3), "label 3; expected 0 to 2", id="no such class"),
        pytest.param(np.full((6, 8), -1), "label -1", id="negative"),
        pytest.param(np.full((6, 8), 256), "label 256", id="does not fit 8 bits"),
        pytest.param((np.zeros((6, 8), int), [[1, 2, 3]]), r"shape \(1, 3\); expected numbers", id="boxes of three"),
    ],
)
def test_wrong_answers(answer, says: str) -> None:
    with pytest.raises(ShapeError, match=says) as caught:
        teach(answer)(IMAGE)
    assert "\n" not in str(caught.value)


def test_a_function_that_raises_is_named_with_its_frame() -> None:
    teacher = CallableTeacher(lambda image: 1 / 0, classes=CLASSES, name="mine:labels")
    with pytest.raises(NarrowcastError, match="mine:labels failed on frame 7: ZeroDivisionError"):
        teacher(IMAGE, frame_index=7)


def test_the_function_cannot_spoil_the_frame() -> None:
    def draw(image):
        image[:] = 0
        return np.zeros(image.shape[:2], int)

    image = IMAGE.copy()
    CallableTeacher(draw, classes=CLASSES, name="mine:draw")(image)
    assert (image == IMAGE).all()


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> str:
    """A module in the current directory; its name is the test's, since modules stay imported."""
    name = f"teacher_in_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path.copy())
    return name


def test_modules_in_the_current_directory_are_found(module: str) -> None:
    teacher = load_callable(f"{module}:labels")
    assert teacher.classes == ("background", "person")
    assert (teacher(IMAGE).labels == 1).all()
    assert load_callable(f"{module}:other").classes == ("background", "dog", "cat")


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        ("label", UsageError, "did you mean 'labels'"),
        ("number", UsageError, "no function 'number'"),
        ("texted", ConfigError, "texted.classes"),
    ],
)
def test_what_the_module_lacks(module: str, function: str, error, says: str) -> None:
    with pytest.raises(error, match=says):
        load_callable(f"{module}:{function}")


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "ModuleNotFoundError"), ("import nothing_there", "nothing_there"), ("def", "SyntaxError"), ("1/0", "Zero")],
)
def test_a_module_that_cannot_be_imported(tmp_path: Path, monkeypatch, text: str | None, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path.copy())
    name = f"broken_{says.lower()}"
    if text:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=says) as caught:
        load_callable(f"{name}:labels")
    assert "\n" not in str(caught.value)
