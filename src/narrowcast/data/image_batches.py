"""Batches of an image table whose content depends on seed and sample number alone, so that training resumes exactly."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

from narrowcast.core.errors import NarrowcastError
from narrowcast.core.runtime import loader_processes, seeded
from narrowcast.data.image_table import ImageTable, read_rgb

Transform = Callable[[Image.Image], Any]


class Order(Protocol):
    """Which row of a table sample number `number` shows."""

    def __call__(self, number: int) -> int: ...


@final
class ShuffledEpochs:
    """Every row once an epoch, in an order of its own each epoch."""

    def __init__(self, num_rows: int, *, seed: int) -> None:
        self.num_rows, self.seed = num_rows, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def __call__(self, number: int) -> int:
        epoch, position = divmod(number, self.num_rows)
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng((self.seed, epoch)).permutation(self.num_rows)
        return int(self._permutation[position])


@final
@dataclass(frozen=True, slots=True)
class BalancedClasses:
    """A class at random, then one of its rows at random: class-balanced sampling [Kang 2020]."""

    labels: Int64[np.ndarray, " n"]
    seed: int
    _rows: list[Int64[np.ndarray, " m"]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        object.__setattr__(self, "_rows", rows)

    def __call__(self, number: int) -> int:
        rng = np.random.default_rng((self.seed, number))
        rows = self._rows[int(rng.integers(len(self._rows)))]
        return int(rows[int(rng.integers(len(rows)))])


def random_view(size: int, *, least_area: float = 0.08) -> Transform:
    """RandomResizedCrop and flip, to uint8 (3, size, size): the thesis's released setting (recounted)."""
    return v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(size, scale=(least_area, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    )


def middle_view(size: int, *, zoom: float = 256 / 224) -> Transform:
    """The middle square: the short side resized to size × zoom, then cropped; uint8 (3, size, size)."""
    return v2.Compose([v2.PILToTensor(), v2.Resize(round(size * zoom), antialias=True), v2.CenterCrop(size)])


@final
class ImageSamples(Dataset[Any]):
    """Sample number `i`: (the image of row `order(i)` after `transform`, that row's number)."""

    def __init__(self, table: ImageTable, transform: Transform, *, order: Order, seed: int = 0) -> None:
        self.table, self.transform, self.order, self.seed = table, transform, order, seed

    def __getitem__(self, number: int) -> tuple[UInt8[Tensor, "..."], int] | NarrowcastError:
        row = self.order(number)
        try:
            image = read_rgb(self.table.paths[row])
        except NarrowcastError as error:  # raised by `image_batches`: a loader's process would wrap it in its traceback
            return error
        with seeded(self.seed, number):
            return self.transform(image), row


def image_batches(
    samples: ImageSamples, numbers: Iterable[Sequence[int]], *, num_workers: int = 0
) -> Iterator[tuple[UInt8[Tensor, "b ..."], Int64[Tensor, " b"]]]:
    """(images, rows) for each list of sample numbers, such as `core.training.sample_numbers` gives.

    Raises:
        SourceError: an image is missing or damaged.
    """
    loader = DataLoader(
        samples,
        batch_sampler=numbers,  # pyright: ignore[reportArgumentType] - any iterable of lists will do
        num_workers=loader_processes(num_workers),
        collate_fn=_collate,
        worker_init_fn=_quiet,
        generator=torch.Generator(),  # or it would draw from the global one
        prefetch_factor=4 if num_workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, NarrowcastError):
            raise batch
        yield batch[0], batch[1]


def every_image(
    table: ImageTable, transform: Transform, *, batch_size: int, num_workers: int = 0, first_row: int = 0
) -> Iterator[tuple[UInt8[Tensor, "b ..."], Int64[Tensor, " b"]]]:
    """(images, rows) of all rows from `first_row` on, in the table's order."""
    rows = range(first_row, len(table))
    numbers = [list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    return image_batches(ImageSamples(table, transform, order=lambda number: number), numbers, num_workers=num_workers)


def _collate(samples: list[Any]) -> Any:
    broken = [sample for sample in samples if isinstance(sample, NarrowcastError)]
    return broken[0] if broken else default_collate(samples)


def _quiet(_: int) -> None:
    torch.set_num_threads(1)  # workers are processes already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the process that trains answers it
