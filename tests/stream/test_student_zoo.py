"""Students are recalled by what they saw and by their keys."""

from pathlib import Path

import numpy as np
import pytest

from narrowcast.models.callable_backbone import CallableBackbone
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.student_zoo import FRAMES, Noticing, StudentZoo

CLASSES = ("background", "person")


def colours(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1, 3).mean(1)


colours.size_hw = (8, 8)  # type: ignore[attr-defined]


def image(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((10, 12, 3), (red, green, blue), np.uint8)


@pytest.fixture
def zoo(tmp_path: Path) -> StudentZoo:
    zoo = StudentZoo(tmp_path / "zoo", lambda: CallableBackbone(colours, name="colours"))
    student = tmp_path / "student.safetensors"
    for name, colour, keys in (
        ("meadow", (20, 200, 30), {"place": "meadow", "time": "day"}),
        ("night", (2, 20, 3), {"place": "meadow", "time": "night"}),
        ("desert", (200, 60, 20), {}),
    ):
        student.write_bytes(name.encode())
        zoo.add(name, student, zoo.signature([image(*colour)]), CLASSES, keys, accuracy=0.8)
    return zoo


def recalled(zoo: StudentZoo, colour: tuple[int, int, int], classes=CLASSES, **keys: str) -> str | None:
    found = zoo.recall(zoo.signature([image(*colour)]), classes, keys)
    return None if found is None else found.path.read_bytes().decode()


def test_the_most_alike_is_recalled(zoo: StudentZoo) -> None:
    assert recalled(zoo, (190, 70, 10)) == "desert"
    assert recalled(zoo, (30, 190, 30)) in ("meadow", "night")
    assert recalled(zoo, (0, 0, 250)) is None


def test_keys_leave_out_what_is_of_something_else(zoo: StudentZoo) -> None:
    assert recalled(zoo, (30, 190, 30), time="night") == "night"
    assert recalled(zoo, (30, 190, 30), time="day", place="meadow") == "meadow"
    assert recalled(zoo, (190, 70, 10), place="dunes") == "desert"  # it says nothing of its place
    assert recalled(zoo, (30, 190, 30), place="garden") is None


def test_other_classes_and_other_features_do_not_fit(zoo: StudentZoo, tmp_path: Path) -> None:
    assert recalled(zoo, (30, 190, 30), ("background", "dog")) is None
    other = StudentZoo(tmp_path / "zoo", lambda: CallableBackbone(colours, name="others"))
    assert recalled(other, (30, 190, 30)) is None


def test_a_damaged_entry_is_left_out(zoo: StudentZoo, caplog: pytest.LogCaptureFixture) -> None:
    (zoo.folder / "desert" / "entry.json").write_text("{", encoding="utf-8")
    assert recalled(zoo, (190, 70, 10)) is None
    assert "desert" in caplog.text


def test_some_of_what_a_teacher_sees_is_noticed() -> None:
    class Anyone:
        classes = CLASSES

        def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
            return TeacherLabels(image_rgb[..., 0])

    noticing = Noticing(Anyone())
    for value in range(1, 200):
        noticing(image(value, 0, 0), frame_index=value)
    assert [int(one[0, 0, 0]) for one in noticing.images] == [1, 2, 4, 8, 16, 32, 64, 128][-FRAMES:]
