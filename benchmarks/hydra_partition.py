"""How tight the balanced groups of classes are that each method finds: squared distance to the group's mean, summed.

On synthetic class features (clusters of uneven size), so that it can be repeated anywhere; lower is tighter.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import record

from narrowcast.hydra.partition import (
    balanced_partition,
    greedy_partition,
    kmeans,
    random_partition,
    within_cluster_error,
)

CASES = ((100, 20), (1000, 50))  # CIFAR-100 into Hydra-Res's branches, ImageNet into Hydra-ResSep's
DIMENSIONS, DRAWS = 64, 5


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    rows = [
        row
        for case in CASES[: 1 if arguments.quick else None]
        for row in measure(*case, draws=1 if arguments.quick else DRAWS)
    ]
    print(record.table(list(rows[0]), [list(row.values()) for row in rows]))
    record.write(arguments.out, "hydra-partition", {"dimensions": DIMENSIONS, "rows": rows}, device=device)
    return 0


def measure(num_classes: int, num_branches: int, *, draws: int) -> list[dict[str, Any]]:
    """Means over draws of features and starts."""
    methods: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
        "random": lambda means, rng: random_partition(num_classes, num_branches, rng=rng),
        "greedy (thesis)": lambda means, rng: greedy_partition(means, num_branches, rng=rng),
        "balanced": lambda means, rng: balanced_partition(means, num_branches, rng=rng),
        "k-means, sizes as they come": lambda means, rng: nearest(means, kmeans(means, num_branches, rng=rng)),
    }
    rows = []
    for name, make in methods.items():
        errors, seconds = [], []
        for draw in range(draws):
            means = features(num_classes, num_branches, np.random.default_rng(draw))
            started = time.perf_counter()
            branch = make(means, np.random.default_rng(100 + draw))
            seconds.append(time.perf_counter() - started)
            errors.append(within_cluster_error(means, branch))
        row = {"classes": num_classes, "branches": num_branches, "method": name}
        rows.append(row | {"error": statistics.fmean(errors), "seconds": statistics.median(seconds), "draws": draws})
    return rows


def features(num_classes: int, num_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Class means around cluster centres; some clusters are many times as large as others."""
    shares = rng.dirichlet(np.ones(num_clusters))
    centres = 0.8 * rng.normal(size=(num_clusters, DIMENSIONS))
    return centres[rng.choice(num_clusters, num_classes, p=shares)] + 0.4 * rng.normal(size=(num_classes, DIMENSIONS))


def nearest(means: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((means[:, None] - centres[None]) ** 2).sum(2).argmin(1)


if __name__ == "__main__":
    record.main(main)
