"""Images that may show several categories, and labels that nobody gave: a table with 1, 0 or nothing in each cell.

Two forms of CSV: a column for each category (`path,heron,egret` with 1, 0 or empty), and a row for each label
(`path,label,value`, the path as often as it takes). Without the column `value` what is listed is there, and all else
is not; with it what is not listed is unknown.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.data.image_table import SPLITS, ImageTable

UNKNOWN = -1
VALUES = {"1": 1, "0": 0, "": UNKNOWN, "?": UNKNOWN}
NOT_CATEGORIES = ("path", "split", "label", "value")
Row = dict[str, str | None]


@dataclass(frozen=True, slots=True, eq=False)
class KnownLabels:
    """Labels 1, 0 or `UNKNOWN` of each image and category; images and their split are those of `table`."""

    table: ImageTable
    labels: Int64[np.ndarray, "n k"] = field(repr=False)
    categories: tuple[str, ...]

    def rows(self, split: str) -> Int64[np.ndarray, " m"]:
        """The numbers of the images of a split, in order."""
        return np.flatnonzero(np.array(self.table.split) == split)


def open_known(path: Path, *, held_out: float, seed: int) -> KnownLabels:
    """The labels of a CSV file, split where it is not: `held_out` of the positives of each category test.

    Raises:
        SourceError: not such a file, or a row that is wrong; the message says where and what.
        UsageError: a category has no positive to train on, or none to test on.
    """
    rows, names = _read(path)
    if "label" in names:
        places, splits, cells, categories = _by_label(rows, path, has_values="value" in names)
    else:
        places, splits, cells, categories = _by_column(rows, path, names)
    if not places:
        raise SourceError(f"{path}: the table is empty")
    if any(splits) and not all(splits):
        raise SourceError(f"{path}: {places[splits.index('')].name} has no split, while others have one")
    labels = np.array(cells, np.int64)
    split = splits if any(splits) else _drawn(labels, held_out=held_out, seed=seed)
    # the images' own table has one class: what there is of labels is here
    table = ImageTable(tuple(places), np.zeros(len(places), np.int64), ("image",), tuple(split), path.parent)
    known = KnownLabels(table, labels, categories)
    for ix, name in enumerate(categories):
        for part in ("train", "test"):
            if not (labels[known.rows(part), ix] == 1).any():
                raise UsageError(f"{path}: category '{name}' has no image that shows it to {part} on")
    return known


def _read(path: Path) -> tuple[list[tuple[int, Row]], Sequence[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as CSV: {error}") from error
    twice = {name for name in names if names.count(name) > 1}
    if "path" not in names or twice:
        what = f"the column '{min(twice)}' twice" if twice else "no column 'path'"
        raise SourceError(f"{path}: {what}; expected path and a column for each category, or path,label")
    return rows, names


def _by_column(
    rows: list[tuple[int, Row]], path: Path, names: Sequence[str]
) -> tuple[list[Path], list[str], list[list[int]], tuple[str, ...]]:
    categories = tuple(name for name in names if name not in NOT_CATEGORIES)
    if not categories:
        raise SourceError(f"{path}: no column of a category beside {', '.join(names)}")
    seen: dict[Path, int] = {}
    splits, cells = [], []
    for line, row in rows:
        image = _image(row, path, line)
        if image in seen:
            raise SourceError(f"{path}:{line}: {row['path']} is in line {seen[image]} already")
        seen[image] = line
        splits.append(_split(row, path, line))
        cells.append([_value(row.get(name), f"{path}:{line}: {name}") for name in categories])
    return list(seen), splits, cells, categories


def _by_label(
    rows: list[tuple[int, Row]], path: Path, *, has_values: bool
) -> tuple[list[Path], list[str], list[list[int]], tuple[str, ...]]:
    given: dict[Path, dict[str, int]] = {}
    splits: dict[Path, str] = {}
    for line, row in rows:
        where, image, split = f"{path}:{line}", _image(row, path, line), _split(row, path, line)
        own = given.setdefault(image, {})
        if splits.setdefault(image, split) != split:
            raise SourceError(f"{where}: {row['path']} is in '{splits[image]}' above and in '{split}' here")
        label = (row.get("label") or "").strip()
        if not label:
            continue  # an image of which nothing is known, or that shows none of the categories
        value = _value(row.get("value"), where) if has_values else 1
        if own.setdefault(label, value) != value:
            raise SourceError(f"{where}: {row['path']} has another value for '{label}' above")
    categories = tuple(sorted({label for own in given.values() for label in own}))
    missing = UNKNOWN if has_values else 0
    cells = [[own.get(name, missing) for name in categories] for own in given.values()]
    return list(given), [splits[image] for image in given], cells, categories


def _image(row: Row, path: Path, line: int) -> Path:
    name = (row.get("path") or "").strip()
    if not name:
        raise SourceError(f"{path}:{line}: no path")
    if not (path.parent / name).is_file():
        raise SourceError(f"{path}:{line}: {name}: no such file; labels and files disagree")
    return path.parent / name


def _split(row: Row, path: Path, line: int) -> str:
    split = (row.get("split") or "").strip()
    if split and split.lower() not in SPLITS:
        raise SourceError(f"{path}:{line}: split '{split}' is neither train nor test")
    return SPLITS.get(split.lower(), "")


def _value(text: str | None, where: str) -> int:
    value = (text or "").strip()
    if value not in VALUES:
        raise SourceError(f"{where}: '{value}' is not a label; expected 1, 0, or empty for unknown")
    return VALUES[value]


def _drawn(labels: Int64[np.ndarray, "n k"], *, held_out: float, seed: int) -> list[str]:
    """Of each category's positives, the rarest first, and of the rest, `held_out` test; at least one where two are."""
    rng = np.random.default_rng(seed)
    split = np.full(len(labels), "", dtype=object)
    shown = [np.flatnonzero(labels[:, ix] == 1) for ix in range(labels.shape[1])]
    for rows in (*sorted(shown, key=len), np.arange(len(labels))):
        wanted = min(max(1, round(held_out * len(rows))), len(rows) - 1) if len(rows) else 0
        open_rows = rng.permutation(rows[split[rows] == ""])
        num = min(max(0, wanted - int((split[rows] == "test").sum())), len(open_rows))
        split[open_rows[:num]], split[open_rows[num:]] = "test", "train"
    return split.tolist()
