"""Which classes share a branch (section 3.2.1): the thesis's greedy assignment, balanced k-means, and chance.

A partition gives each class one branch, and branches as many classes as one another, to one.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from narrowcast.core.errors import ConfigError, SourceError, did_you_mean
from narrowcast.core.files import write_json

Means = Float[np.ndarray, "classes d"]
Assignment = Int[np.ndarray, " classes"]
LLOYD_STEPS, LLOYD_STARTS = 100, 8  # ours: the starts matter more than the steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The branch of each class.

    Attributes:
        classes: names, in the order of the network's logits.
        branch_of_class: from 0 to `num_branches` − 1; every branch has a class.
        num_branches: n_b.
        method: how it was made.
        error: squared distance of the class means from the mean of their branch, summed; None where it is unknown.
    """

    classes: tuple[str, ...]
    branch_of_class: tuple[int, ...]
    num_branches: int
    method: str
    error: float | None = None

    def __post_init__(self) -> None:
        if len(self.branch_of_class) != len(self.classes):
            raise ConfigError(f"{len(self.classes)} classes and {len(self.branch_of_class)} numbers of branches")
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ConfigError(f"class '{twice}' is there twice")
        empty = sorted(set(range(self.num_branches)) - set(self.branch_of_class))
        if empty:
            raise ConfigError(f"branch {empty[0]} has no class; use fewer branches than {self.num_branches}")
        if set(self.branch_of_class) - set(range(self.num_branches)):
            raise ConfigError(f"a branch's number is not from 0 to {self.num_branches - 1}")

    def groups(self) -> list[list[str]]:
        """The names of each branch's classes."""
        found: list[list[str]] = [[] for _ in range(self.num_branches)]
        for name, branch in zip(self.classes, self.branch_of_class, strict=True):
            found[branch].append(name)
        return found

    def for_classes(self, classes: Sequence[str], *, where: str) -> "Partition":
        """The same partition with its classes in this order.

        Raises:
            ConfigError: a class is missing or unknown; the message begins with `where`.
        """
        known = dict(zip(self.classes, self.branch_of_class, strict=True))
        missing = [name for name in classes if name not in known]
        if missing:
            raise ConfigError(f"{where}: has no branch for class '{missing[0]}' ({len(missing)} missing)")
        unknown = [name for name in self.classes if name not in set(classes)]
        if unknown:
            hint = did_you_mean(unknown[0], classes)
            raise ConfigError(f"{where}: class '{unknown[0]}' is not in the data{hint}")
        return Partition(
            classes=tuple(classes),
            branch_of_class=tuple(known[name] for name in classes),
            num_branches=self.num_branches,
            method=self.method,
            error=self.error,
        )

    def save(self, path: Path) -> None:
        """Write it as JSON: method, error, and the names of each branch's classes."""
        write_json(path, {"method": self.method, "error": self.error, "branches": self.groups()})


def load_partition(path: Path) -> Partition:
    """What `Partition.save` wrote, or a person by hand.

    Raises:
        SourceError: it cannot be read, or is not a partition.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        groups = found["branches"]
        classes = [name for group in groups for name in group]
        branches = [branch for branch, group in enumerate(groups) for _ in group]
        if not all(isinstance(name, str) for name in classes):
            raise TypeError
        return Partition(
            classes=tuple(classes),
            branch_of_class=tuple(branches),
            num_branches=len(groups),
            method=str(found.get("method", "by hand")),
            error=found.get("error"),
        )
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(f'{path}: not a partition; expected {{"branches": [["class", …], …]}}') from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def class_means(
    batches: Iterable[tuple[Float[np.ndarray, "_ d"], Int[np.ndarray, " _"]]], *, num_classes: int
) -> Means:
    """The mean feature of each class over batches of features and labels.

    Raises:
        ConfigError: a class has no image.
    """
    totals: Any = None
    counts = np.zeros(num_classes)
    for features, labels in batches:
        if totals is None:
            totals = np.zeros((num_classes, features.shape[1]))
        np.add.at(totals, labels, features)
        counts += np.bincount(labels, minlength=num_classes)
    if totals is None or not counts.all():
        missing = int(np.flatnonzero(counts == 0)[0]) if totals is not None else 0
        raise ConfigError(f"class number {missing} has no image to take features of")
    return totals / counts[:, None]


def random_partition(num_classes: int, num_branches: int, *, rng: np.random.Generator) -> Assignment:
    """RANDOM of table 3.8: equal sizes, by chance."""
    _check(num_classes, num_branches)
    return rng.permutation(np.arange(num_classes) % num_branches)


def greedy_partition(means: Means, num_branches: int, *, rng: np.random.Generator) -> Assignment:
    """The thesis's CLUSTER: the centres of k-means take turns, each picking the nearest class that is left."""
    _check(len(means), num_branches)
    distances = _distances(means, kmeans(means, num_branches, rng=rng))
    branch = np.full(len(means), -1)
    for turn in range(len(means)):
        centre = turn % num_branches
        nearest = np.where(branch < 0, distances[:, centre], np.inf).argmin()
        branch[nearest] = centre
    return branch


def balanced_partition(means: Means, num_branches: int, *, rng: np.random.Generator) -> Assignment:
    """Balanced k-means: the best assignment of equal sizes to the centres, then new centres, until nothing changes.

    The best of several starts. Its error is a third below greedy's: benchmarks/results/hydra-partition.json.
    """
    _check(len(means), num_branches)
    found = [_balanced_lloyd(means, num_branches, rng) for _ in range(LLOYD_STARTS)]
    return min(found, key=lambda branch: within_cluster_error(means, branch))


def within_cluster_error(means: Means, branch_of_class: Assignment) -> float:
    """The squared distance of each class from the mean of its branch, summed."""
    groups = (means[branch_of_class == branch] for branch in np.unique(branch_of_class))
    return float(sum(((group - group.mean(0)) ** 2).sum() for group in groups))


def kmeans(means: Means, num_clusters: int, *, rng: np.random.Generator) -> Float[np.ndarray, "clusters d"]:
    """Centres of Lloyd's algorithm from a k-means++ start; sizes are whatever comes."""
    centres = _spread_start(means, num_clusters, rng)
    for _ in range(LLOYD_STEPS):
        distances = _distances(means, centres)
        nearest = distances.argmin(1)
        for cluster in np.setdiff1d(np.arange(num_clusters), nearest):  # nobody's: take the worst placed class
            worst = distances[np.arange(len(means)), nearest].argmax()
            nearest[worst], distances[worst] = cluster, 0
        moved = np.stack([means[nearest == cluster].mean(0) for cluster in range(num_clusters)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres


def _balanced_lloyd(means: Means, num_branches: int, rng: np.random.Generator) -> Assignment:
    centres = _spread_start(means, num_branches, rng)
    branch = np.full(len(means), -1)
    for _ in range(LLOYD_STEPS):
        new = _assign_evenly(_distances(means, centres))
        if (new == branch).all():
            break
        branch = new
        centres = np.stack([means[branch == one].mean(0) for one in range(num_branches)])
    return branch


def _assign_evenly(distances: Float[np.ndarray, "classes centres"]) -> Assignment:
    """The cheapest assignment in which centres get as many classes as one another, to one."""
    from scipy.optimize import linear_sum_assignment  # here, since it changes the warning filters when it is imported

    num_classes, num_centres = distances.shape
    least, left_over = divmod(num_classes, num_centres)
    slots = np.repeat(distances, least, axis=1)
    owners = np.repeat(np.arange(num_centres), least)
    if left_over:  # one more slot a centre; who stands in for nobody must take one of these
        slots = np.hstack([slots, distances])
        owners = np.append(owners, np.arange(num_centres))
        nobody = np.zeros((num_centres - left_over, slots.shape[1]))
        nobody[:, : least * num_centres] = distances.sum() + 1  # dearer than any assignment
        slots = np.vstack([slots, nobody])
    _, taken = linear_sum_assignment(slots)
    return owners[taken[:num_classes]]


def _spread_start(means: Means, num_clusters: int, rng: np.random.Generator) -> Float[np.ndarray, "clusters d"]:
    """k-means++: each new centre is a class, drawn by its squared distance from those there are."""
    chosen = [int(rng.integers(len(means)))]
    while len(chosen) < num_clusters:
        nearest = _distances(means, means[chosen]).min(1)
        nearest[chosen] = 0
        total = nearest.sum()
        if total > 0:
            chosen.append(int(rng.choice(len(means), p=nearest / total)))
        else:  # the rest are copies
            chosen.append(int(rng.choice(np.setdiff1d(np.arange(len(means)), chosen))))
    return means[chosen].astype(np.float64)


def _distances(means: Means, centres: Float[np.ndarray, "centres d"]) -> Float[np.ndarray, "classes centres"]:
    products = means @ centres.T
    squares = (means**2).sum(1)[:, None] + (centres**2).sum(1)[None]
    return np.maximum(squares - 2 * products, 0)


def _check(num_classes: int, num_branches: int) -> None:
    if not 1 <= num_branches <= num_classes:
        raise ConfigError(f"num_branches = {num_branches}: must be from 1 to the number of classes, {num_classes}")
