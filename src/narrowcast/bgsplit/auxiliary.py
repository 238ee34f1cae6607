"""Auxiliary labels t_i: what splits the background into many coherent categories (sections 5.3.1 and 5.4.3).

A classifier's arg max, k-means clusters of features, random numbers, or a file. Features are computed once and kept on
disk; labels are a CSV file that anyone can make.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from narrowcast.core.errors import ConfigError, SourceError, UsageError
from narrowcast.core.files import write_json, write_text
from narrowcast.data.image_table import ImageTable, read_rgb
from narrowcast.data.row_cache import Block, CacheReport, RowCache

LABELS, NOTE = "labels.csv", "auxiliary.json"
CALL_SIZE = 64  # images that a backbone sees at once; ours


@dataclass(frozen=True, slots=True, eq=False)
class AuxiliaryLabels:
    """A pseudo-label of `num` categories for each row of a table, and how sure it is (1 where nothing says)."""

    labels: Int64[np.ndarray, " n"] = field(repr=False)
    confidence: Float32[np.ndarray, " n"] = field(repr=False)
    num: int
    source: str
    names: tuple[str, ...] = ()

    @property
    def largest_share(self) -> float:
        """The largest category's share of the images: 4.5% in figure 5.3, against 98.3% background."""
        return float(np.bincount(self.labels, minlength=self.num).max() / max(1, len(self.labels)))

    @property
    def num_used(self) -> int:
        """Categories that have an image."""
        return len(np.unique(self.labels))

    def name(self, label: int) -> str:
        """What the category is called."""
        return self.names[label] if self.names else str(label)


def keep_features(folder: Path, table: ImageTable, backbone: Any) -> tuple[RowCache, Iterator[CacheReport]]:
    """The cache of `backbone`'s features below `folder`, and what fills it: drain it before the cache is read."""
    key = f"{backbone.key}-{table.image_key()}"
    cache = RowCache(
        folder / f"features-{key}", {"features": ((backbone.dim,), "float32")}, key=key, num_rows=len(table)
    )

    def blocks(first_row: int) -> Iterator[Block]:
        for start in range(first_row, len(table), CALL_SIZE):
            images = [np.asarray(read_rgb(path)) for path in table.paths[start : start + CALL_SIZE]]
            yield {"features": backbone([backbone.prepare(image) for image in images])}

    return cache, cache.fill(blocks)


@torch.inference_mode()
def classifier_labels(
    features: Float32[np.ndarray, "n d"], head: nn.Linear, *, source: str, excluded: Sequence[int] = ()
) -> AuxiliaryLabels:
    """The arg max of a classifier's head, over the classes that are not `excluded`, and its probability."""
    labels, confidence = [], []
    cpu = nn.Linear(head.in_features, head.out_features).requires_grad_(False)
    cpu.load_state_dict(head.state_dict())
    for start in range(0, len(features), 4096):
        logits = cpu(torch.from_numpy(np.array(features[start : start + 4096])))
        logits[:, list(excluded)] = -torch.inf
        best = logits.softmax(1).max(1)
        labels.append(best.indices.numpy())
        confidence.append(best.values.numpy())
    return AuxiliaryLabels(np.concatenate(labels), np.concatenate(confidence), head.out_features, source)


def own_classes(
    labels: Int64[np.ndarray, " n"], is_foreground: Sequence[np.ndarray], *, least_share: float = 0.1
) -> list[int]:
    """The auxiliary classes that a foreground category's images fall into: `least_share` of any category's or more.

    What the control without them leaves out, so that the auxiliary task cannot have learned the categories themselves.
    """
    found: set[int] = set()
    for mask in is_foreground:
        counts = np.bincount(labels[mask])
        found |= {int(ix) for ix in np.flatnonzero(counts >= max(1.0, least_share * mask.sum()))}
    return sorted(found)


def cluster_labels(
    features: Float32[np.ndarray, "n d"], *, num: int, seed: int, fit_rows: Int64[np.ndarray, " m"] | None = None
) -> AuxiliaryLabels:
    """Mini-batch k-means of L2-normalised features (the thesis's footnote 3), fitted on `fit_rows`.

    Raises:
        ConfigError: there are fewer images than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans  # importing it sets environment variables

    unit = np.array(features, np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True).clip(min=1e-12)
    fitted = unit if fit_rows is None else unit[fit_rows]
    if not 1 < num <= len(fitted):
        raise ConfigError(f"--num {num}: expected from 2 to {len(fitted)} clusters, which is how many images there are")
    size = max(1024, num)
    means = MiniBatchKMeans(num, random_state=seed, batch_size=size, n_init="auto", max_iter=30).fit(fitted)
    labels = np.asarray(means.predict(unit), np.int64)
    distance = np.linalg.norm(unit - means.cluster_centers_[labels], axis=1)
    return AuxiliaryLabels(labels, np.exp(-distance).astype(np.float32), num, f"clusters-{num}")


def random_labels(num_rows: int, *, num: int, seed: int) -> AuxiliaryLabels:
    """`num` categories of equal size without any meaning: RANDOM-1K of table 5.3, which is destructive."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_rows, dtype=np.int64) % num)
    return AuxiliaryLabels(labels, np.ones(num_rows, np.float32), num, f"random-{num}")


def save_labels(folder: Path, auxiliary: AuxiliaryLabels, table: ImageTable) -> None:
    """Write `labels.csv` (path, label, confidence) and `auxiliary.json`.

    Raises:
        StorageError: the folder cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "label", "confidence"))
    for name, label, confidence in zip(table.names(), auxiliary.labels, auxiliary.confidence, strict=True):
        rows.writerow((name, int(label), f"{confidence:.4f}"))
    write_text(folder / LABELS, text.getvalue())
    note = {
        "source": auxiliary.source,
        "num": auxiliary.num,
        "num_used": auxiliary.num_used,
        "largest_share": auxiliary.largest_share,
        "names": list(auxiliary.names),
    }
    write_json(folder / NOTE, note)


def load_labels(path: Path, table: ImageTable) -> AuxiliaryLabels:
    """The labels of a folder that `save_labels` wrote, or of a CSV file with the columns path and label.

    Labels that are whole numbers from 0 are kept; others are numbered in the order of their names.

    Raises:
        SourceError: damaged, or an image of the table has no label.
    """
    file = path / LABELS if path.is_dir() else path
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise ValueError("no columns path and label")
            rows = {row["path"]: (row["label"], row.get("confidence")) for row in reader}
        note = json.loads((path / NOTE).read_text(encoding="utf-8")) if path.is_dir() else {}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise SourceError(f"{file}: not auxiliary labels that can be read ({error})") from error
    names = table.names()
    missing = [name for name in names if name not in rows]
    if missing:
        raise SourceError(
            f"{file}: no label for {missing[0]} and {len(missing) - 1} other images; labels and files disagree"
        )
    texts = [rows[name][0] for name in names]
    called: tuple[str, ...] = tuple(note.get("names", ()))
    if all(text.isdecimal() for text in texts):
        labels = np.array([int(text) for text in texts], np.int64)
    else:
        called = tuple(sorted(set(texts)))
        labels = np.array([called.index(text) for text in texts], np.int64)
    num = int(note.get("num", max(len(called), int(labels.max()) + 1)))
    if labels.max() >= num:
        raise SourceError(f"{file}: label {labels.max()}, but {path / NOTE} says {num} categories")
    confidence = np.array([float(rows[name][1] or 1) for name in names], np.float32)
    return AuxiliaryLabels(labels, confidence, num, str(note.get("source", path.stem)), called)


def most_confident(
    auxiliary: AuxiliaryLabels, *, num_categories: int, num_images: int, seed: int
) -> list[tuple[int, list[int]]]:
    """(category, its rows that it is surest of) for random categories with enough images: figure 5.4.

    Raises:
        UsageError: no category has that many images.
    """
    counts = np.bincount(auxiliary.labels, minlength=auxiliary.num)
    candidates = np.flatnonzero(counts >= num_images)
    if not len(candidates):
        raise UsageError(f"no auxiliary category has {num_images} images")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(candidates, min(num_categories, len(candidates)), replace=False))
    rows = []
    for label in chosen:
        members = np.flatnonzero(auxiliary.labels == label)
        best = members[np.argsort(-auxiliary.confidence[members], kind="stable")][:num_images]
        rows.append((int(label), best.tolist()))
    return rows
