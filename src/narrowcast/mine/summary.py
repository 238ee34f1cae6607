"""What simulations came to: curves averaged over categories and seeds, and differences of pairs."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrowcast.core.errors import StorageError
from narrowcast.core.files import write_json
from narrowcast.mine.simulate import Curve

SUMMARY = "summary.json"
MEASURES = ("ap", "f1", "best_f1", "found")


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and its standard error; the error is NaN of a single value."""

    value: float
    error: float
    num: int


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of what are not NaNs.

    >>> mean_of([0.0, 1.0])
    Mean(value=0.5, error=0.5, num=2)
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Mean(math.nan, math.nan, 0)
    error = float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else math.nan
    return Mean(float(np.mean(known)), error, len(known))


def at(curve: Curve, measure: str, num_labels: int) -> float:
    """A measure after so many labels; where the pool ended before, its last value."""
    values = getattr(curve, measure)
    reached = [ix for ix, num in enumerate(curve.labels) if num <= num_labels]
    return values[reached[-1]] if reached else math.nan


def strategies_of(curves: Iterable[Curve]) -> list[str]:
    """The strategies, in the order in which they first come."""
    return list(dict.fromkeys(curve.strategy for curve in curves))


def means(curves: Sequence[Curve], strategy: str, measure: str, num_labels: int) -> Mean:
    """The mean over categories and seeds. Its error is mostly the categories' own spread: compare pairs."""
    return mean_of([at(curve, measure, num_labels) for curve in curves if curve.strategy == strategy])


def paired(curves: Sequence[Curve], strategy: str, other: str, measure: str, num_labels: int) -> Mean:
    """Mean difference strategy − other over the runs that both did: same category, same seeds.

    Seeds of one category are not independent categories, so they are averaged first: the error is over categories.
    """
    values = {
        name: {(c.category, c.seed): at(c, measure, num_labels) for c in curves if c.strategy == name}
        for name in (strategy, other)
    }
    by_category: dict[str, list[float]] = {}
    for key in values[strategy].keys() & values[other].keys():
        by_category.setdefault(key[0], []).append(values[strategy][key] - values[other][key])
    return mean_of([mean_of(found).value for _, found in sorted(by_category.items())])


def write_summary(folder: Path, curves: Sequence[Curve]) -> None:
    """`summary.json`: a list with one object a run; NaN is null."""
    write_json(folder / SUMMARY, [_plain(curve) for curve in curves])


def _plain(curve: Curve) -> dict[str, object]:
    values = curve.to_json()
    for measure in MEASURES:
        values[measure] = [None if math.isnan(value) else value for value in values[measure]]
    return values


def read_summary(folder: Path) -> list[Curve]:
    """The runs in `folder`; none where there is no summary yet.

    Raises:
        StorageError: it is damaged.
    """
    path = folder / SUMMARY
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            for measure in MEASURES:
                row[measure] = [math.nan if value is None else value for value in row[measure]]
        return [Curve(**row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{path}: damaged: {error}") from error
