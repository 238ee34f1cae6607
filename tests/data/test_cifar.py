"""CIFAR-100's two published forms, made small by hand."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import SourceError
from narrowcast.data.cifar import is_cifar100, read_cifar100

NAMES = [f"thing{ix}" for ix in range(5)]


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 3072), np.uint8)


def binary(folder: Path, pixels: np.ndarray) -> Path:
    labels = np.arange(7, dtype=np.uint8)[:, None] % 5
    for split in ("train", "test"):
        np.hstack([labels * 0, labels, pixels]).tofile(folder / f"{split}.bin")
    (folder / "fine_label_names.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def pickled(folder: Path, pixels: np.ndarray) -> Path:
    found = {b"data": pixels, b"fine_labels": [ix % 5 for ix in range(7)], b"coarse_labels": [0] * 7}
    for split in ("train", "test"):
        (folder / split).write_bytes(pickle.dumps(found, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [name.encode() for name in NAMES]}, protocol=2))
    return folder


@pytest.mark.parametrize("form", [binary, pickled])
def test_both_forms_are_the_same_images(form: object, tmp_path: Path, pixels: np.ndarray) -> None:
    folder = form(tmp_path, pixels)  # type: ignore[operator]
    assert is_cifar100(folder)
    data = read_cifar100(folder, "train")
    assert data.classes == tuple(NAMES)
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 0, 1]
    red, green, blue = pixels[2].reshape(3, 32, 32)  # planes, rows first
    np.testing.assert_array_equal(data.images[2].numpy(), np.stack([red, green, blue]))


def test_a_folder_of_photos_is_not_cifar(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    assert not is_cifar100(tmp_path)


def test_pickles_run_nothing(tmp_path: Path, pixels: np.ndarray) -> None:
    pickled(tmp_path, pixels)

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "ran").touch, ())

    (tmp_path / "train").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(SourceError, match="wants "):
        read_cifar100(tmp_path, "train")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["cut", "label", "pickle"])
def test_damage_is_one_line(damage: str, tmp_path: Path, pixels: np.ndarray) -> None:
    if damage == "pickle":
        pickled(tmp_path, pixels)
        (tmp_path / "train").write_bytes((tmp_path / "train").read_bytes()[:900])
    else:
        binary(tmp_path, pixels)
        content = bytearray((tmp_path / "train.bin").read_bytes())
        if damage == "cut":
            del content[-1]
        else:
            content[1] = 99
        (tmp_path / "train.bin").write_bytes(content)
    with pytest.raises(SourceError, match="train") as caught:
        read_cifar100(tmp_path, "train")
    assert "\n" not in str(caught.value)
