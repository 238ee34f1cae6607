"""Labelled images as a table: paths, classes and splits, from a folder of folders or a CSV file."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image, ImageOps

from narrowcast.core.errors import ClassNameError, SourceError, UsageError, did_you_mean

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
SPLITS = {"train": "train", "training": "train", "val": "test", "validation": "test", "test": "test"}


@dataclass(frozen=True, slots=True, eq=False)
class ImageTable:
    """Images and their classes; row `i` is `paths[i]` with label `labels[i]`, an index into `classes`.

    `split` has "train" or "test" for each row, or is empty where the source does not say.
    """

    paths: tuple[Path, ...] = field(repr=False)
    labels: Int64[np.ndarray, " n"] = field(repr=False)
    classes: tuple[str, ...]
    split: tuple[str, ...] = field(default=(), repr=False)
    root: Path = Path()

    def __post_init__(self) -> None:
        if not len(self.paths) == len(self.labels) or (self.split and len(self.split) != len(self.paths)):
            raise SourceError(
                f"{self.root}: {len(self.paths)} images, {len(self.labels)} labels, {len(self.split)} splits"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, chosen: Iterable[int] | Bool[np.ndarray, " n"] | Int64[np.ndarray, " m"]) -> "ImageTable":
        """The table of these rows, in this order; classes keep their numbers."""
        index = np.asarray(chosen if isinstance(chosen, np.ndarray) else list(chosen))
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        split = tuple(self.split[ix] for ix in index) if self.split else ()
        return ImageTable(tuple(self.paths[ix] for ix in index), self.labels[index], self.classes, split, self.root)

    def of_split(self, name: str) -> "ImageTable":
        """The rows of split `name`.

        Raises:
            UsageError: the table has no such rows.
        """
        table = self.rows([ix for ix, split in enumerate(self.split) if split == name])
        if not len(table):
            raise UsageError(f"{self.root}: has no images of the split '{name}'")
        return table

    def counts(self) -> Int64[np.ndarray, " classes"]:
        """Images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def class_ix(self, name: str) -> int:
        """The number of the class called `name`.

        Raises:
            ClassNameError: there is none.
        """
        if name not in self.classes:
            raise ClassNameError(f"{self.root}: no category '{name}' in the table{did_you_mean(name, self.classes)}")
        return self.classes.index(name)

    def names(self) -> list[str]:
        """The paths relative to the table's folder, as text: what other files call the images."""
        return [_relative(path, self.root).as_posix() for path in self.paths]

    def key(self) -> str:
        """A digest of names and labels: changes when the table does."""
        digest = hashlib.sha256("\n".join((*self.classes, "", *self.names())).encode("utf-8", "surrogateescape"))
        digest.update(self.labels.tobytes())
        return digest.hexdigest()[:16]

    def image_key(self) -> str:
        """A digest of names, sizes and times of the files: what was computed from the images holds while it does."""
        digest = hashlib.sha256()
        for name, path in zip(self.names(), self.paths, strict=True):
            stat = path.stat()
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]


def open_table(path: Path) -> ImageTable:
    """The table of a folder of class folders, or of a CSV file with the columns path, label and maybe split.

    Raises:
        SourceError: nothing there that is such a table; the message says what is wrong and where.
    """
    if path.is_dir():
        return table_of_folder(path)
    if not path.exists():
        raise SourceError(f"{path}: no such folder or CSV file")
    return table_of_csv(path)


def table_of_folder(folder: Path) -> ImageTable:
    """Each folder is a class; where the folders are train, val or test, the classes are one level deeper.

    Raises:
        SourceError: there are no class folders, or one of them holds no image.
    """
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    splits = {entry: SPLITS[entry.name.lower()] for entry in folders if entry.name.lower() in SPLITS}
    if "train" in splits.values():
        rows = [
            (name, split, path) for entry, split in splits.items() for name, path in _images_by_class(entry, folder)
        ]
    else:
        rows = [(name, "", path) for name, path in _images_by_class(folder, folder)]
    return _table([(path, name, split) for name, split, path in rows], folder)


def _images_by_class(folder: Path, where: Path) -> Iterator[tuple[str, Path]]:
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise SourceError(f"{where}: expected a folder for each category, each with images; {folder.name} has none")
    for entry in classes:
        images = sorted(path for path in entry.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not images:
            raise SourceError(f"{entry}: the category is empty; remove the folder or add images")
        yield from ((entry.name, path) for path in images)


def table_of_csv(path: Path) -> ImageTable:
    """Rows of path, label and maybe split ("train" or "test"); paths are relative to the file.

    Raises:
        SourceError: not such a file, or a row that names no image, no label or a split that does not exist.
    """
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise SourceError(f"{path}: no column '{min(missing)}'; expected path,label or path,label,split")
            for row in reader:
                rows.append(_csv_row(row, path, reader.line_num))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as CSV: {error}") from error
    return _table(rows, path.parent)


def _csv_row(row: dict[str, str | None], path: Path, line: int) -> tuple[Path, str, str]:
    where, name, label = f"{path}:{line}", row.get("path") or "", row.get("label") or ""
    split = (row.get("split") or "").strip()
    if not name or not label:
        raise SourceError(f"{where}: expected path and label, got '{name}' and '{label}'")
    if split and split.lower() not in SPLITS:
        raise SourceError(f"{where}: split '{split}' is neither train nor test")
    image = path.parent / name
    if not image.is_file():
        raise SourceError(f"{where}: {name}: no such file; labels and files disagree")
    return image, label, SPLITS.get(split.lower(), "")


def _table(rows: Sequence[tuple[Path, str, str]], root: Path) -> ImageTable:
    if not rows:
        raise SourceError(f"{root}: the table is empty")
    classes = tuple(sorted({label for _, label, _ in rows}))
    number = {name: ix for ix, name in enumerate(classes)}
    splits = tuple(split for _, _, split in rows)
    if any(splits) and not all(splits):
        raise SourceError(f"{rows[splits.index('')][0]}: has no split, while others have one")
    labels = np.array([number[label] for _, label, _ in rows], np.int64)
    return ImageTable(tuple(path for path, _, _ in rows), labels, classes, splits if any(splits) else (), root)


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def split_table(table: ImageTable, *, held_out: float, seed: int) -> ImageTable:
    """`table` with a split of its own: of each class `held_out` of the images, at least one, are "test".

    A class with a single image has it in "train". A table that comes with a split is given back as it is.
    """
    if table.split:
        return table
    rng = np.random.default_rng(seed)
    split = np.full(len(table), "train", dtype=object)
    for ix in range(len(table.classes)):
        rows = rng.permutation(np.flatnonzero(table.labels == ix))
        num = min(max(1, round(held_out * len(rows))), len(rows) - 1)
        split[rows[: max(num, 0)]] = "test"
    return ImageTable(table.paths, table.labels, table.classes, tuple(split), table.root)


def read_rgb(path: Path) -> Image.Image:
    """The image at `path` as RGB, upright.

    Raises:
        SourceError: it is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        reason = str(error).replace(repr(str(path)), "it")
        raise SourceError(f"{path}: the image cannot be decoded ({reason}); remove it or mend it") from error
