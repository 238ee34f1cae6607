"""CIFAR-100 in its published forms: the Python version (pickled arrays) and the binary version (labels, then pixels).

The pickles are read without running anything that is in them: only numpy arrays and plain values are let in.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from narrowcast.core.errors import SourceError
from narrowcast.data.image_tensors import ImageTensors

RECORD_BYTES = 2 + 3 * 32 * 32
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def is_cifar100(folder: Path) -> bool:
    """Whether `folder` is one of the two published forms, unpacked."""
    names = ("train", "test", "meta") if (folder / "meta").is_file() else ("train.bin", "test.bin")
    return all((folder / name).is_file() for name in names)


def read_cifar100(folder: Path, split: str) -> ImageTensors:
    """The images of split "train" or "test" with their fine labels.

    Raises:
        SourceError: a file is missing or not of the published form.
    """
    try:
        return _python_version(folder, split) if (folder / "meta").is_file() else _binary_version(folder, split)
    except OSError as error:
        raise SourceError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error


def _binary_version(folder: Path, split: str) -> ImageTensors:
    path = folder / f"{split}.bin"
    records = np.frombuffer(path.read_bytes(), np.uint8)
    if not records.size or records.size % RECORD_BYTES:
        raise SourceError(f"{path}: {records.size} bytes are not a number of records of {RECORD_BYTES} bytes")
    records = records.reshape(-1, RECORD_BYTES)
    names = (folder / "fine_label_names.txt").read_text(encoding="utf-8").split()
    return _tensors(path, records[:, 2:], records[:, 1], names)


def _python_version(folder: Path, split: str) -> ImageTensors:
    path = folder / split
    found, meta = _unpickled(path), _unpickled(folder / "meta")
    try:
        names = [name.decode() for name in meta[b"fine_label_names"]]
        return _tensors(path, np.asarray(found[b"data"]), np.asarray(found[b"fine_labels"]), names)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(f"{path}: not CIFAR-100's Python version: {error}") from error


def _tensors(path: Path, pixels: np.ndarray, labels: np.ndarray, names: list[str]) -> ImageTensors:
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), RECORD_BYTES - 2):
        raise SourceError(f"{path}: expected {len(labels)} × 3072 bytes of pixels, got {pixels.shape} {pixels.dtype}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
        raise SourceError(f"{path}: a label is {int(labels.max())}, but there are only {len(names)} names of classes")
    images = torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy())
    return ImageTensors(images, torch.from_numpy(labels.astype(np.int64)), tuple(names))


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"wants {module}.{name}, which is no array")
        return super().find_class(module, name)


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            return _Plain(file, encoding="bytes").load()
        except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
            raise SourceError(f"{path}: not CIFAR-100's Python version: {error}") from error
