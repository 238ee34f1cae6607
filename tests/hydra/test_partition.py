"""Partitions are even, the balanced one is the tightest, and files say what is wrong with them."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.hydra import partition
from narrowcast.hydra.partition import (
    Partition,
    balanced_partition,
    class_means,
    greedy_partition,
    kmeans,
    load_partition,
    random_partition,
    within_cluster_error,
)

METHODS: dict[str, Callable[..., np.ndarray]] = {
    "random": lambda means, num, rng: random_partition(len(means), num, rng=rng),
    "greedy": lambda means, num, rng: greedy_partition(means, num, rng=rng),
    "balanced": lambda means, num, rng: balanced_partition(means, num, rng=rng),
}


def clustered(num_classes: int, num_clusters: int, rng: np.random.Generator) -> np.ndarray:
    centres = 3 * rng.normal(size=(num_clusters, 16))
    return centres[rng.integers(num_clusters, size=num_classes)] + rng.normal(size=(num_classes, 16))


@pytest.mark.parametrize(("num_classes", "num_branches"), [(20, 4), (23, 4), (7, 7), (9, 1), (10, 8)])
@pytest.mark.parametrize("method", METHODS)
def test_branches_get_as_many_classes_as_one_another(
    method: str, num_classes: int, num_branches: int, rng: np.random.Generator
) -> None:
    branch = METHODS[method](clustered(num_classes, 3, rng), num_branches, rng)
    sizes = np.bincount(branch, minlength=num_branches)
    assert sizes.sum() == num_classes
    assert sizes.max() - sizes.min() <= (num_classes % num_branches > 0)


def test_balanced_beats_greedy_beats_random(rng: np.random.Generator) -> None:
    """Five draws; each order by chance has odds of one in six."""
    for _ in range(5):
        means = clustered(100, 15, rng)
        errors = {name: within_cluster_error(means, make(means, 20, rng)) for name, make in METHODS.items()}
        assert errors["balanced"] < errors["greedy"] < errors["random"]


def test_the_even_assignment_is_the_cheapest_there_is(rng: np.random.Generator) -> None:
    """Against all assignments of 7 classes to 3 centres with sizes 2 or 3."""
    distances = rng.random((7, 3))
    even = [a for a in itertools.product(range(3), repeat=7) if set(np.bincount(a, minlength=3)) <= {2, 3}]
    cheapest = min(sum(distances[ix, one] for ix, one in enumerate(a)) for a in even)
    found = partition._assign_evenly(distances)
    assert distances[np.arange(7), found].sum() == pytest.approx(cheapest)


def test_greedy_is_the_thesis_taking_turns(rng: np.random.Generator) -> None:
    means = clustered(12, 4, rng)
    centres = kmeans(means, 4, rng=np.random.default_rng(5))
    left, slow = set(range(12)), np.zeros(12, int)
    while left:
        for centre in range(4):
            nearest = min(left, key=lambda ix: ((means[ix] - centres[centre]) ** 2).sum())
            slow[nearest] = centre
            left.remove(nearest)
    assert (greedy_partition(means, 4, rng=np.random.default_rng(5)) == slow).all()


def test_classes_that_are_copies_do_not_stop_kmeans(rng: np.random.Generator) -> None:
    assert sorted(np.bincount(balanced_partition(np.ones((6, 3)), 3, rng=rng))) == [2, 2, 2]


def test_class_means_over_batches(rng: np.random.Generator) -> None:
    features, labels = rng.normal(size=(20, 4)), np.arange(20) % 3
    batches = [(features[:7], labels[:7]), (features[7:], labels[7:])]
    means = class_means(batches, num_classes=3)
    np.testing.assert_allclose(means, [features[labels == ix].mean(0) for ix in range(3)])
    with pytest.raises(ConfigError, match="class number 3"):
        class_means(batches, num_classes=4)


def test_more_branches_than_classes_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="num_branches = 5"):
        random_partition(4, 5, rng=rng)


def test_a_partition_is_a_small_file(tmp_path: Path) -> None:
    made = Partition(classes=("a", "b", "c"), branch_of_class=(1, 0, 1), num_branches=2, method="greedy", error=0.5)
    made.save(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["branches"] == [["b"], ["a", "c"]]
    loaded = load_partition(tmp_path / "p.json")
    assert loaded.groups() == made.groups()
    again = loaded.for_classes(("a", "b", "c"), where="p.json")
    assert again == made


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"branches": [["a"], ["b"]]}', "no branch for class 'c'"),
        ('{"branches": [["a", "c"], ["b", "d"]]}', "class 'd' is not in the data"),
        ('{"branches": [["a", "c"], []]}', "branch 1 has no class"),
        ('{"branches": [["a", "c"], ["a", "b"]]}', "class 'a' is there twice"),
        ('{"branches": "abc"', "not a partition"),
        ('{"branches": [["a", 3]]}', "not a partition"),
        ("[]", "not a partition"),
    ],
)
def test_a_wrong_partition_is_one_clear_line(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises((ConfigError, SourceError), match=match) as caught:
        load_partition(path).for_classes(("a", "b", "c"), where=str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_partition_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        load_partition(tmp_path / "no.json")
