"""The images that a classifier is trained on: CIFAR-100, or any table of images, in memory where they are small."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from narrowcast.core.errors import ConfigError
from narrowcast.data.cifar import is_cifar100, read_cifar100
from narrowcast.data.image_batches import (
    ImageSamples,
    ShuffledEpochs,
    every_image,
    image_batches,
    middle_view,
    random_view,
)
from narrowcast.data.image_table import ImageTable, open_table, split_table
from narrowcast.data.image_tensors import ImageTensors, augmented_batches, normalised, read_images

SMALL_PX = 64  # a side; larger images are decoded as they are needed, with random crops of any size
MEMORY_BYTES = 4e9
SCORED_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images to learn from and images to score with.

    Attributes:
        train, test: tensors in memory, or a table whose images are decoded batch by batch.
        size: pixels a side, as the network sees them.
        key: changes with the data.
    """

    train: ImageTensors | ImageTable
    test: ImageTensors | ImageTable
    size: int
    key: str

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes


def open_images(path: Path, *, size: int, held_out: float, seed: int) -> LabelledImages:
    """CIFAR-100's folder, or a folder or CSV of images; without splits of its own, `held_out` of each class is scored.

    Raises:
        SourceError: it cannot be read; the message names the file.
    """
    if is_cifar100(path):
        if size != 32:
            raise ConfigError(f"--size {size}: CIFAR-100 has images of 32 pixels")
        train, test = (read_cifar100(path, split) for split in ("train", "test"))
        return LabelledImages(train, test, size, f"cifar100-{len(train)}-{len(test)}")
    table = split_table(open_table(path), held_out=held_out, seed=seed)
    train, test = table.of_split("train"), table.of_split("test")
    if size > SMALL_PX or len(table) * 3 * size**2 > MEMORY_BYTES:
        return LabelledImages(train, test, size, table.key())
    return LabelledImages(read_images(train, size=size), read_images(test, size=size), size, table.key())


def training_batches(
    data: LabelledImages, numbers: Iterable[Sequence[int]], *, seed: int, num_workers: int
) -> Iterator[tuple[UInt8[Tensor, "b 3 h w"], Int64[Tensor, " b"]]]:
    """Augmented (images, labels) for lists of sample numbers: shifted crops of small images, else crops of any size."""
    if isinstance(data.train, ImageTensors):
        yield from augmented_batches(data.train, numbers, seed=seed, pad=max(1, data.size // 8))
        return
    order = ShuffledEpochs(len(data.train), seed=seed)
    samples = ImageSamples(data.train, random_view(data.size), order=order, seed=seed)
    labels = torch.from_numpy(data.train.labels)
    for images, rows in image_batches(samples, numbers, num_workers=num_workers):
        yield images, labels[rows]


def plain_batches(
    images: ImageTensors | ImageTable, *, size: int, num_workers: int = 0
) -> Iterator[tuple[Float[Tensor, "b 3 h w"], Int64[Tensor, " b"]]]:
    """All images in order, without augmentation, normalised."""
    if isinstance(images, ImageTensors):
        for pixels, labels in zip(
            images.images.split(SCORED_AT_ONCE), images.labels.split(SCORED_AT_ONCE), strict=True
        ):
            yield normalised(pixels), labels
        return
    labels = torch.from_numpy(images.labels)
    for pixels, rows in every_image(images, middle_view(size), batch_size=SCORED_AT_ONCE, num_workers=num_workers):
        yield normalised(pixels), labels[rows]


def first_image_of_each_class(images: ImageTensors | ImageTable, *, size: int) -> UInt8[np.ndarray, "classes h w 3"]:
    """One picture a class, to show."""
    labels = images.labels if isinstance(images, ImageTable) else images.labels.numpy()
    first = [int(np.flatnonzero(labels == ix)[0]) for ix in range(len(images.classes))]
    if isinstance(images, ImageTable):
        images = read_images(images.rows(first), size=size)
        first = list(range(len(first)))
    return images.images[first].permute(0, 2, 3, 1).numpy()
