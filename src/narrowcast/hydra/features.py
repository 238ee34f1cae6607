"""Class means of any backbone's features, from which partitions are made (section 3.2.1); partitions by name."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.errors import UsageError, did_you_mean
from narrowcast.data.image_table import ImageTable, read_rgb
from narrowcast.data.image_tensors import ImageTensors
from narrowcast.hydra.partition import (
    Partition,
    balanced_partition,
    class_means,
    greedy_partition,
    random_partition,
    within_cluster_error,
)

BATCH = 64
Features = Callable[[Sequence[UInt8[np.ndarray, "_ _ 3"]]], Float32[np.ndarray, "n dim"]]
METHODS = ("balanced", "greedy", "random")


def means_of(images: ImageTensors | ImageTable, features: Features) -> np.ndarray:
    """The mean feature of each class.

    Args:
        images: to take features of; training images, or the scores would know what they are scored on.
        features: RGB images to feature vectors, such as a backbone of `narrowcast.models.backbones`.
    """
    batches = ((features(pictures), labels) for pictures, labels in _pictures(images))
    return class_means(batches, num_classes=len(images.classes))


def make_partition(
    images: ImageTensors | ImageTable, num_branches: int, *, method: str, features: Features | None, seed: int
) -> Partition:
    """The partition that `method` makes of the classes of `images`.

    Raises:
        UsageError: no such method, or features are missing.
    """
    rng = np.random.default_rng(seed)
    if method not in METHODS:
        raise UsageError(f"--method {method}: expected {', '.join(METHODS)}{did_you_mean(method, METHODS)}")
    if method == "random":
        found, error = random_partition(len(images.classes), num_branches, rng=rng), None
    else:
        if features is None:
            raise UsageError(f"--method {method}: needs a backbone")
        means = means_of(images, features)
        make = balanced_partition if method == "balanced" else greedy_partition
        found = make(means, num_branches, rng=rng)
        error = within_cluster_error(means, found)
    return Partition(
        classes=images.classes,
        branch_of_class=tuple(found.tolist()),
        num_branches=num_branches,
        method=method,
        error=error,
    )


def _pictures(images: ImageTensors | ImageTable) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    for start in range(0, len(images), BATCH):
        where = slice(start, start + BATCH)
        if isinstance(images, ImageTable):
            yield [np.asarray(read_rgb(path)) for path in images.paths[where]], images.labels[where]
        else:
            pictures = images.images[where].permute(0, 2, 3, 1).contiguous().numpy()
            yield list(pictures), images.labels[where].numpy()
