"""Stills are labelled once, whatever interrupts; the labels of two teachers are never mixed."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, SourceError, StorageError
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.labelling import find_images, label_images, label_path, read_note


class RedTeacher:
    """Class 1 wherever red is the strongest colour; counts its calls."""

    classes = ("background", "red")

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        self.calls += 1
        return TeacherLabels((image_rgb.argmax(-1) == 0).astype(np.uint8) * (image_rgb[..., 0] > 128))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos in two folders, the left part of each red."""
    folder = tmp_path / "photos"
    for number, name in enumerate(["b.jpg", "a.png", "deep/c.JPEG", "deep/er/d.webp", "e.bmp"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.full((24, 32, 3), 60, np.uint8)
        image[:, : 4 + number] = (20, 20, 240)  # BGR
        cv2.imwrite(str(folder / name), image)
    (folder / "notes.txt").write_text("not an image")
    return folder


def label(folder: Path, cache: Path, teacher: RedTeacher | None = None, name: str = "red") -> list:
    return list(label_images(find_images([folder]), teacher or RedTeacher(), teacher_name=name, cache=cache))


def test_images_are_found_below_folders_in_order(photos: Path) -> None:
    assert [rel.as_posix() for _, rel in find_images([photos])] == [
        "a.png",
        "b.jpg",
        "deep/c.JPEG",
        "deep/er/d.webp",
        "e.bmp",
    ]


def test_a_missing_folder_and_one_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none: no such folder of images"):
        find_images([tmp_path / "none"])
    with pytest.raises(SourceError, match=rf"no image in {tmp_path}"):
        find_images([tmp_path])


def test_two_folders_of_one_name_are_refused(photos: Path, tmp_path: Path) -> None:
    """Their labels would be kept under one name: images of the second got the labels of the first."""
    other = tmp_path / "more" / "photos"
    other.mkdir(parents=True)
    with pytest.raises(ConfigError, match="two folders of images are called 'photos'"):
        find_images([photos, other])


def test_labels_are_kept_under_the_images_names(photos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "labels"
    reports = label(photos, cache)
    assert [(report.done, report.total, report.was_cached, report.error) for report in reports] == [
        (number, 5, False, None) for number in range(1, 6)
    ]
    for folder, rel in find_images([photos]):
        kept = cv2.imread(str(label_path(cache, folder, rel)), cv2.IMREAD_UNCHANGED)
        assert kept.shape == (24, 32)
        assert kept[12, 0] == 1
        assert kept[12, 31] == 0


def test_images_that_differ_in_their_suffix_keep_their_own_labels(tmp_path: Path) -> None:
    paths = {label_path(tmp_path, Path("photos"), Path(name)) for name in ("a.jpg", "a.png", "deep/a.jpg")}
    assert len(paths) == 3


def test_labels_are_made_once(photos: Path, tmp_path: Path) -> None:
    teacher = RedTeacher()
    label(photos, tmp_path / "labels", teacher)
    reports = label(photos, tmp_path / "labels", teacher)
    assert teacher.calls == 5
    assert all(report.was_cached for report in reports)


def test_labelling_goes_on_where_it_stopped(photos: Path, tmp_path: Path) -> None:
    teacher = RedTeacher()
    half_done = label_images(find_images([photos]), teacher, teacher_name="red", cache=tmp_path / "labels")
    next(half_done), next(half_done)
    half_done.close()
    reports = label(photos, tmp_path / "labels", teacher)
    assert [report.was_cached for report in reports] == [True, True, False, False, False]
    assert teacher.calls == 5


def test_an_image_that_cannot_be_read_is_reported_and_the_rest_is_labelled(photos: Path, tmp_path: Path) -> None:
    (photos / "b.jpg").write_bytes(b"not a JPEG")
    reports = label(photos, tmp_path / "labels")
    assert [report.error for report in reports] == [None, f"{photos / 'b.jpg'}: cannot be decoded", None, None, None]
    assert not label_path(tmp_path / "labels", photos, Path("b.jpg")).exists()


def test_labels_of_another_teacher_are_not_mixed_in(photos: Path, tmp_path: Path) -> None:
    label(photos, tmp_path / "labels")
    with pytest.raises(ConfigError, match="labels: holds labels of 'red', not of 'blue'"):
        label(photos, tmp_path / "labels", name="blue")


def test_the_note_tells_teacher_and_classes(photos: Path, tmp_path: Path) -> None:
    label(photos, tmp_path / "labels")
    assert read_note(tmp_path / "labels") == ("red", ("background", "red"))


@pytest.mark.parametrize("text", [None, "{", json.dumps({"teacher": "red"})], ids=["missing", "damaged", "incomplete"])
def test_a_folder_without_a_note_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "teacher.json").write_text(text)
    with pytest.raises(ConfigError, match="not a folder of teacher labels"):
        read_note(tmp_path)


def test_a_cache_that_cannot_be_written_is_said(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        label(photos, tmp_path / "file" / "labels")
