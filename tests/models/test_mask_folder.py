"""Masks on disk: which belongs to which frame, and what they may hold."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.models.mask_folder import MaskFolderTeacher, masks_by_frame

CLASSES = ("background", "person", "car")
BLANK = np.zeros((6, 8, 3), np.uint8)


def write(folder: Path, *names: str, value: int = 1, mode: str = "L") -> None:
    for name in names:
        image = Image.fromarray(np.full((6, 8), value, np.uint8))
        if mode == "P":
            image = Image.fromarray(np.full((6, 8), value, np.uint8), mode=None)
            image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        elif mode != "L":
            image = image.convert(mode)
        image.save(folder / name)


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        pytest.param(["00000.png", "00001.png"], {0: "00000.png", 1: "00001.png"}, id="counted from 0"),
        pytest.param(["1.png", "2.png", "10.png"], {1: "1.png", 2: "2.png", 10: "10.png"}, id="gaps: frame numbers"),
        pytest.param(["1.png", "2.png", "3.png"], {0: "1.png", 1: "2.png", 2: "3.png"}, id="counted from 1"),
        pytest.param(["f_30.png", "f_60.png"], {30: "f_30.png", 60: "f_60.png"}, id="numbers with a common beginning"),
        pytest.param(["100.png", "101.png"], {100: "100.png", 101: "101.png"}, id="a part of a stream"),
        pytest.param(["a2.png", "a10.png", "b1.png"], {0: "a2.png", 1: "a10.png", 2: "b1.png"}, id="natural order"),
        pytest.param(["dusk.png", "dawn.PNG"], {0: "dawn.PNG", 1: "dusk.png"}, id="names"),
    ],
)
def test_masks_find_their_frames(tmp_path: Path, names: list[str], frames: dict[int, str]) -> None:
    write(tmp_path, *names)
    (tmp_path / "notes.txt").write_text("ignored", encoding="utf-8")
    assert {index: path.name for index, path in masks_by_frame(tmp_path).items()} == frames


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_grey_and_palette_masks_are_the_same(tmp_path: Path, mode: str) -> None:
    write(tmp_path, "0.png", value=2, mode=mode)
    assert (MaskFolderTeacher(tmp_path, classes=CLASSES)(BLANK, frame_index=0).labels == 2).all()


def test_masks_come_at_the_size_of_the_frame(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[:3] = 2
    Image.fromarray(mask).save(tmp_path / "0.png")
    labels = MaskFolderTeacher(tmp_path, classes=CLASSES)(np.zeros((31, 17, 3), np.uint8), frame_index=0).labels
    assert labels.shape == (31, 17)
    assert np.array_equal(np.unique(labels), [0, 2])
    assert (labels[:15] == 2).all()


def test_classes_come_from_the_folder(tmp_path: Path) -> None:
    write(tmp_path, "0.png")
    with pytest.raises(ConfigError, match=r"classes\.txt: no such file"):
        MaskFolderTeacher(tmp_path)
    (tmp_path / "classes.txt").write_text("background\nperson \n\ncar\n", encoding="utf-8")
    assert MaskFolderTeacher(tmp_path).classes == CLASSES


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no PNG"):
        MaskFolderTeacher(tmp_path, classes=CLASSES)
    with pytest.raises(SourceError, match="no such folder"):
        MaskFolderTeacher(tmp_path / "gone", classes=CLASSES)
    write(tmp_path, "0.png", "5.png")
    write(tmp_path, "6.png", value=7)
    write(tmp_path, "8.png", mode="RGB")
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "7.png").write_bytes(whole[: len(whole) // 2])
    teacher = MaskFolderTeacher(tmp_path, classes=CLASSES)
    for frame_index, says in (
        (3, "no mask for frame 3"),
        (6, r"6\.png: holds the value 7"),
        (7, r"7\.png"),
        (8, "RGB"),
    ):
        with pytest.raises(SourceError, match=says) as caught:
            teacher(BLANK, frame_index=frame_index)
        assert "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="which frame"):
        teacher(BLANK)


def test_two_masks_with_one_number_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "01.png", "7.png")
    with pytest.raises(SourceError, match="same number"):
        MaskFolderTeacher(tmp_path, classes=CLASSES)


def test_binary_masks_in_black_and_white_are_warned_of_once(tmp_path: Path, caplog) -> None:
    """255 means unknown, so nothing would ever be learned from them."""
    write(tmp_path, "0.png", "1.png", value=255)
    teacher = MaskFolderTeacher(tmp_path, classes=CLASSES)
    assert (teacher(BLANK, frame_index=0).labels == 255).all()
    teacher(BLANK, frame_index=1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
