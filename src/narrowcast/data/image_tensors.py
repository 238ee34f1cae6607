"""Small images as one tensor in memory: what CIFAR and its like are trained from, without a decoder in the loop."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from narrowcast.data.image_batches import ShuffledEpochs, middle_view
from narrowcast.data.image_table import ImageTable, read_rgb

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights want them


@dataclass(frozen=True, slots=True)
class ImageTensors:
    """Labelled images of one size.

    Attributes:
        images: RGB, 0-255.
        labels: numbers of classes.
        classes: their names.
    """

    images: UInt8[Tensor, "n 3 h w"]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_images(table: ImageTable, *, size: int) -> ImageTensors:
    """All images of `table`: the middle square of each, resized to `size`.

    Raises:
        SourceError: a file is not an image that can be read; the message names it.
    """
    out = torch.empty(len(table), 3, size, size, dtype=torch.uint8)
    view = middle_view(size, zoom=1.0)

    def read(ix: int) -> None:
        out[ix] = view(read_rgb(table.paths[ix]))

    with ThreadPoolExecutor(4) as pool:  # decoding lets go of the interpreter
        for _ in pool.map(read, range(len(table))):
            pass
    return ImageTensors(out, torch.from_numpy(table.labels), table.classes)


def normalised(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Zero mean and unit variance a channel, over ImageNet."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return images.float().div_(255).sub_(mean).div_(std)


def crop_and_flip(images: UInt8[Tensor, "n 3 h w"], *, pad: int, rng: torch.Generator) -> UInt8[Tensor, "n 3 h w"]:
    """The usual augmentation of small images: a random crop after padding by reflection, mirrored half the time."""
    num, _, height, width = images.shape
    padded = F.pad(images.float(), (pad,) * 4, mode="reflect").to(torch.uint8) if pad else images
    top, left = (torch.randint(0, 2 * pad + 1, (num, 1), generator=rng) for _ in range(2))
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    mirrored = torch.rand(num, 1, generator=rng) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(num)[:, None, None, None]
    channel = torch.arange(3)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def augmented_batches(
    data: ImageTensors, numbers: Iterable[Sequence[int]], *, seed: int, pad: int = 4
) -> Iterator[tuple[UInt8[Tensor, "b 3 h w"], Int64[Tensor, " b"]]]:
    """(images, labels) for each list of sample numbers (`core.training.sample_numbers`), augmented.

    A batch depends on `seed` and its numbers alone, so that a resumed training repeats exactly.
    """
    order = ShuffledEpochs(len(data), seed=seed)
    for batch in numbers:
        rows = torch.tensor([order(number) for number in batch])
        state = np.random.SeedSequence((seed, batch[0])).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(state >> np.uint64(1)))
        yield crop_and_flip(data.images[rows], pad=pad, rng=rng), data.labels[rows]
