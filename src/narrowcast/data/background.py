"""Data sets with a background: a few categories of a table, each with few positives, everything else background.

Section 5.2 of the thesis. A split is a file that says which images train a category and which are left out, so that
others can train on the same; what is not listed is background.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from narrowcast.core.errors import ConfigError, SourceError, UsageError
from narrowcast.core.files import write_json
from narrowcast.data.image_table import ImageTable

FORMAT = "narrowcast background split 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackgroundConfig:
    """What makes a data set of a table with a background."""

    num_categories: int = 5  # drawn by the seed; ours
    categories: tuple[str, ...] = ()  # names instead of a draw
    positives: int = 0  # training images of a category at most; 0: all of them
    background_share: float = 1.0  # of the background images that train (table 5.8)
    draw: int = 0  # which draw of categories and positives
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_categories < 1 or self.positives < 0 or self.draw < 0 or self.seed < 0:
            raise ConfigError("[background] num_categories must be positive; positives, draw and seed not negative")
        if not 0 < self.background_share <= 1:
            raise ConfigError(f"[background] background_share = {self.background_share}: must be in (0, 1]")


@dataclass(frozen=True, slots=True, eq=False)
class BackgroundSplit:
    """Rows of a table that train and test, with labels 0 (background) to N (`categories[label - 1]`).

    `evaluated` are the categories that count in the mean scores: all, or those that several N share (section 5.4.1).
    """

    categories: tuple[str, ...]
    train_rows: Int64[np.ndarray, " n"] = field(repr=False)
    train_labels: Int64[np.ndarray, " n"] = field(repr=False)
    test_rows: Int64[np.ndarray, " m"] = field(repr=False)
    test_labels: Int64[np.ndarray, " m"] = field(repr=False)
    evaluated: tuple[str, ...] = ()

    @property
    def counts(self) -> Int64[np.ndarray, " classes"]:
        """Training images of background and of each category."""
        return np.bincount(self.train_labels, minlength=len(self.categories) + 1).astype(np.int64)

    @property
    def background(self) -> float:
        """The background's share of the training images."""
        return float(np.mean(self.train_labels == 0))

    def statistics(self) -> dict[str, Any]:
        """Figure 5.2 in numbers."""
        counts, test = self.counts, np.bincount(self.test_labels, minlength=len(self.categories) + 1)
        return {
            "train": int(counts.sum()),
            "test": int(test.sum()),
            "background": self.background,
            "background_test": float(test[0] / max(1, test.sum())),
            "categories": {
                name: {"train": int(counts[ix]), "test": int(test[ix])} for ix, name in enumerate(self.categories, 1)
            },
        }


def draw_split(table: ImageTable, config: BackgroundConfig) -> BackgroundSplit:
    """The split of `table` (which has train and test rows) that `config` and its seed say.

    Positives beyond `config.positives` are left out, not made background. Classes whose name begins with "background"
    are never drawn.

    Raises:
        ClassNameError: a category is not in the table.
        UsageError: a category has no training or no test image, or there are too few categories.
    """
    rng = np.random.default_rng((config.seed, config.draw))
    train, test = (
        np.array([ix for ix, split in enumerate(table.split) if split == name]) for name in ("train", "test")
    )
    if not len(train) or not len(test):
        raise UsageError(f"{table.root}: needs images to train and to test on; see split_table")
    chosen = [table.class_ix(name) for name in config.categories] or _draw_classes(
        table, config.num_categories, train, test, rng
    )
    number = np.zeros(len(table.classes), np.int64)
    number[chosen] = np.arange(1, len(chosen) + 1)
    labels = number[table.labels]
    for ix in chosen:
        for rows, name in ((train, "train"), (test, "test")):
            if not (table.labels[rows] == ix).any():
                raise UsageError(f"{table.root}: category '{table.classes[ix]}' has no image to {name} on")
    kept = np.sort(np.concatenate(list(_kept(labels[train], config, rng))))
    train = train[kept]
    categories = tuple(table.classes[ix] for ix in chosen)
    return BackgroundSplit(categories, train, labels[train], test, labels[test], categories)


def _draw_classes(
    table: ImageTable, num: int, train: Int64[np.ndarray, " n"], test: Int64[np.ndarray, " m"], rng: np.random.Generator
) -> list[int]:
    candidates = sorted(set(table.labels[train]) & set(table.labels[test]))
    candidates = [int(ix) for ix in candidates if not re.match("background", table.classes[ix], re.IGNORECASE)]
    if len(candidates) < num:
        raise UsageError(f"{table.root}: {num} categories are asked for, {len(candidates)} have images in both splits")
    return sorted(int(ix) for ix in rng.choice(candidates, num, replace=False))


def _kept(labels: Int64[np.ndarray, " n"], config: BackgroundConfig, rng: np.random.Generator) -> Any:
    """Positions of the training rows that are kept: some background, few positives of each category."""
    background = rng.permutation(np.flatnonzero(labels == 0))
    yield background[: max(1, round(config.background_share * len(background)))]
    for label in range(1, labels.max() + 1):
        positives = rng.permutation(np.flatnonzero(labels == label))
        yield positives[: config.positives or len(positives)]


def save_split(path: Path, split: BackgroundSplit, table: ImageTable) -> None:
    """Write `split` by the names of its images; the longer of "background" and "left_out" stays unwritten.

    Raises:
        StorageError: the file cannot be written.
    """
    names = np.array(table.names(), dtype=object)
    background = split.train_rows[split.train_labels == 0]
    is_train = np.array([one == "train" for one in table.split])
    left_out = np.setdiff1d(np.flatnonzero(is_train), split.train_rows)
    foreground = {
        category: names[split.train_rows[split.train_labels == ix]].tolist()
        for ix, category in enumerate(split.categories, 1)
    }
    note: dict[str, Any] = {
        "format": FORMAT,
        "table": table.key(),
        "categories": list(split.categories),
        "evaluated": list(split.evaluated),
        "foreground": foreground,
    }
    if len(left_out) <= len(background):
        note["left_out"] = names[left_out].tolist()
    else:
        note["background"] = names[background].tolist()
    write_json(path, note)


def load_split(path: Path, table: ImageTable) -> BackgroundSplit:
    """The split that `save_split` wrote, of the same table.

    Raises:
        SourceError: damaged, of another table, or it names an image or a category that the table does not have.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        is_split = note["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: not a background split that can be read ({error})") from error
    if not is_split:
        raise SourceError(f"{path}: expected the format '{FORMAT}', got '{note['format']}'")
    if note["table"] != table.key():
        raise SourceError(f"{path}: was made of another table than {table.root}: its images or labels are not the same")
    row = {name: ix for ix, name in enumerate(table.names())}
    categories = tuple(note["categories"])
    number = np.zeros(len(table.classes), np.int64)
    number[[table.class_ix(name) for name in categories]] = np.arange(1, len(categories) + 1)
    labels = number[table.labels]
    foreground = {_row(name, row, path) for names in note["foreground"].values() for name in names}
    is_train = np.array([one == "train" for one in table.split])
    kept = is_train & (labels == 0)
    if "background" in note:
        kept[:] = False
        kept[[_row(name, row, path) for name in note["background"]]] = True
    kept[[_row(name, row, path) for name in note.get("left_out", ())]] = False
    kept[list(foreground)] = True
    train, test = np.flatnonzero(kept), np.flatnonzero(~is_train)
    return BackgroundSplit(categories, train, labels[train], test, labels[test], tuple(note["evaluated"]))


def _row(name: str, row: dict[str, int], path: Path) -> int:
    if name not in row:
        raise SourceError(f"{path}: image '{name}' is not in the table")
    return row[name]


def published_draws(
    classes: Sequence[str], *, shared: int, nested: Sequence[int], parts: int, singles: int, seed: int
) -> dict[str, list[tuple[str, ...]]]:
    """The category lists of section 5.4.6, drawn by `seed`, by N.

    `shared` categories are drawn first; each larger N of `nested` holds them; they are cut into `parts` equal parts,
    and `singles` of them stand alone. iNaturalist-BG: shared 100, nested (1100, 5089), parts 10, singles 10; Places-BG:
    shared 50, parts 5, singles 10.

    >>> draws = published_draws([f"c{ix}" for ix in range(30)], shared=6, nested=(20,), parts=2, singles=2, seed=0)
    >>> {name: [len(one) for one in lists] for name, lists in draws.items()}
    {'6': [6], '20': [20], '3': [3, 3], '1': [1, 1]}
    """
    if max(shared, *nested, 0) > len(classes) or shared % parts or singles > shared:
        raise ConfigError(f"{len(classes)} classes cannot be drawn as {shared} shared, {tuple(nested)}, {parts} parts")
    names: list[str] = list(classes)
    order = [names[ix] for ix in np.random.default_rng(seed).permutation(len(classes))]
    size = shared // parts
    draws: dict[str, list[tuple[str, ...]]] = {str(num): [tuple(order[:num])] for num in (shared, *nested)}
    draws[str(size)] = [tuple(order[start : start + size]) for start in range(0, shared, size)]
    draws["1"] = [(name,) for name in order[:singles]]
    return draws
