"""Small images as one tensor in memory: what CIFAR and its like are trained from, without a decoder in the loop."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from narrowcast.core.errors import SourceError

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


def read_images(paths: Sequence[Path], *, size: int) -> UInt8[Tensor, "n 3 s s"]:
    """The images at `paths`: the middle square of each, resized to `size`.

    Raises:
        SourceError: a file is not an image that can be read; the message names it.
    """
    out = np.empty((len(paths), size, size, 3), np.uint8)

    def read(ix: int) -> None:
        out[ix] = read_square(paths[ix], size=size)

    with ThreadPoolExecutor(4) as pool:  # decoding lets go of the interpreter
        for _ in pool.map(read, range(len(paths))):
            pass
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


def read_square(path: Path, *, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """One image's middle square, resized."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size, 2 * size))
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path}: not an image that can be read: {error}") from error
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    return np.asarray(rgb.resize((size, size), Image.Resampling.BOX, (left, top, left + side, top + side)))


def normalised(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Zero mean and unit variance a channel, over ImageNet."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return images.float().div_(255).sub_(mean).div_(std)


def crop_and_flip(images: UInt8[Tensor, "n 3 h w"], *, pad: int, rng: torch.Generator) -> UInt8[Tensor, "n 3 h w"]:
    """The usual augmentation of small images: a random crop after padding by reflection, and a mirror image half the time."""
    num, _, height, width = images.shape
    padded = F.pad(images.float(), (pad,) * 4, mode="reflect").to(torch.uint8) if pad else images
    top, left = (torch.randint(0, 2 * pad + 1, (num, 1), generator=rng) for _ in range(2))
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    mirrored = torch.rand(num, 1, generator=rng) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(num)[:, None, None, None]
    channel = torch.arange(3)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def training_batches(
    data: ImageTensors, *, batch_size: int, first_step: int, seed: int, pad: int = 4
) -> Iterator[tuple[UInt8[Tensor, "b 3 h w"], Int64[Tensor, " b"]]]:
    """Endless augmented batches. Step s is the same whatever came before it, so that a resumed training repeats exactly.

    Each epoch is a new permutation; what is left over at its end is left out.
    """
    steps = max(1, len(data) // batch_size)
    step = first_step
    while True:
        epoch, position = divmod(step, steps)
        order = torch.randperm(len(data), generator=_generator(seed, 0, epoch))
        chosen = order[position * batch_size : (position + 1) * batch_size]
        images = crop_and_flip(data.images[chosen], pad=pad, rng=_generator(seed, 1, step))
        yield images, data.labels[chosen]
        step += 1


def _generator(*numbers: int) -> torch.Generator:
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
