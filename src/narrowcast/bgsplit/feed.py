"""What a network is trained from: images read from disk, or the kept outputs of a trunk's frozen part.

A feed knows every row of a table. Samples depend on the seed and their number alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from narrowcast.core.runtime import compute_dtype
from narrowcast.data.image_batches import ImageSamples, Order, every_image, image_batches, middle_view, random_view
from narrowcast.data.image_table import ImageTable
from narrowcast.data.row_cache import Block, CacheReport, RowCache
from narrowcast.models.trunk_parts import cut

CALL_SIZE = 128  # images at once where nothing is learned; ours
LEAST_AREA = 0.08  # of a random crop, as the thesis's released code has it


class Feed(Protocol):
    """Inputs of the trained part of a trunk, by row of a table."""

    def samples(
        self, rows: Int64[np.ndarray, " n"], numbers: Iterable[Sequence[int]], *, order: Order, seed: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, positions in `rows`) of each list of sample numbers, augmented."""
        ...

    def plain(self, rows: Int64[np.ndarray, " n"]) -> Iterator[Tensor]:
        """The inputs of `rows` in order, not augmented."""
        ...

    def features(self, rows: Int64[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
        """What the trunk makes of `rows` before it is trained."""
        ...

    def with_trunk(self, trunk: nn.Module, device: torch.device) -> "Feed":
        """The same inputs before another trained part."""
        ...


@final
class ImageFeed:
    """Images in [0, 1] from disk: random crops and flips to train, the middle to test."""

    def __init__(
        self,
        table: ImageTable,
        trunk: nn.Module,
        *,
        size: int,
        device: torch.device,
        num_workers: int = 0,
        least_area: float = LEAST_AREA,
    ) -> None:
        self.table, self.trunk, self.size, self.device, self.num_workers = table, trunk, size, device, num_workers
        self.least_area = least_area

    def samples(
        self, rows: Int64[np.ndarray, " n"], numbers: Iterable[Sequence[int]], *, order: Order, seed: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        view = random_view(self.size, least_area=self.least_area)
        chosen = ImageSamples(self.table.rows(rows), view, order=order, seed=seed)
        for images, positions in image_batches(chosen, numbers, num_workers=self.num_workers):
            yield images.float().div_(255), positions

    def plain(self, rows: Int64[np.ndarray, " n"]) -> Iterator[Tensor]:
        view, size = middle_view(self.size, zoom=1.0), CALL_SIZE
        for images, _ in every_image(self.table.rows(rows), view, batch_size=size, num_workers=self.num_workers):
            yield images.float().div_(255)

    def features(self, rows: Int64[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
        return run_trunk(self.trunk, self.plain(rows), device=self.device)

    def with_trunk(self, trunk: nn.Module, device: torch.device) -> "ImageFeed":
        num_workers, least_area = self.num_workers, self.least_area
        return ImageFeed(
            self.table, trunk, size=self.size, device=device, num_workers=num_workers, least_area=least_area
        )


@final
class MapFeed:
    """Maps that the frozen part of a trunk made of views of each image, kept on disk: training needs only the rest.

    View 0 is the middle of the image, view 1 its mirror image, further ones are random crops. Inference with the whole
    trunk gives the same as with `trunk` on the maps, up to their half precision.
    """

    def __init__(self, maps: Tensor, features: Float[np.ndarray, "n d"], trunk: nn.Module) -> None:
        self.trunk, self._maps, self._features = trunk, maps, features

    @classmethod
    def open(cls, cache: RowCache, trunk: nn.Module) -> "MapFeed":
        """The feed of a cache that is complete; all of its maps, (rows, views, c, h, w), are read into memory."""
        return cls(torch.from_numpy(np.array(cache.read("maps"))), np.array(cache.read("features")), trunk)

    def with_trunk(self, trunk: nn.Module, device: torch.device) -> "MapFeed":
        features = run_trunk(trunk, self.plain(np.arange(len(self._maps))), device=device)
        return MapFeed(self._maps, features.numpy(), trunk)

    def samples(
        self, rows: Int64[np.ndarray, " n"], numbers: Iterable[Sequence[int]], *, order: Order, seed: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in numbers:
            positions = np.array([order(number) for number in batch])
            views = np.random.default_rng((seed, batch[0])).integers(self._maps.shape[1], size=len(batch))
            yield self._maps[rows[positions], views].float(), torch.from_numpy(positions)

    def plain(self, rows: Int64[np.ndarray, " n"]) -> Iterator[Tensor]:
        for start in range(0, len(rows), CALL_SIZE):
            yield self._maps[rows[start : start + CALL_SIZE], 0].float()

    def features(self, rows: Int64[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
        return torch.from_numpy(np.asarray(self._features[rows], np.float32))


@torch.inference_mode()
def run_trunk(trunk: nn.Module, inputs: Iterable[Tensor], *, device: torch.device) -> Float[Tensor, "n d"]:
    """The features of all inputs, on the CPU."""
    was_training, dtype = trunk.training, compute_dtype(device)
    trunk.eval()
    features = []
    for batch in inputs:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            features.append(trunk(batch.to(device)).float().cpu())
    trunk.train(was_training)
    return torch.cat(features)


def keep_maps(
    folder: Path, table: ImageTable, backbone: Any, *, trained_parts: int, num_views: int = 2, num_workers: int = 0
) -> tuple[RowCache, Iterator[CacheReport]]:
    """The cache of maps and features below `folder`, and what fills it: drain it before the cache is read.

    `backbone` is a `TorchBackbone`; rows are those of `table`, which has to stay the same.
    """
    lower, upper = cut(backbone.net, trained_parts=trained_parts, size_hw=backbone.size_hw)
    size = backbone.size_hw[0]
    with torch.inference_mode():
        maps = lower(torch.zeros(1, 3, *backbone.size_hw, device=backbone.device))
    layout = {
        "maps": ((num_views, *maps.shape[1:]), "float16"),
        "features": ((backbone.dim,), "float32"),
    }
    key = f"{backbone.key}-{table.image_key()}-{trained_parts}-{num_views}"
    cache = RowCache(folder / f"maps-{key}", layout, key=key, num_rows=len(table))

    def blocks(first_row: int) -> Iterator[Block]:
        views = _Views(size, num_views)
        images = every_image(table, views, batch_size=CALL_SIZE, num_workers=num_workers, first_row=first_row)
        dtype = compute_dtype(backbone.device)
        for pixels, _ in images:
            flat = pixels.flatten(0, 1).to(backbone.device).float().div_(255)
            fast = torch.autocast(backbone.device.type, dtype, enabled=dtype != torch.float32)
            with torch.inference_mode(), fast:
                maps = lower(flat.contiguous(memory_format=torch.channels_last)).float()
                maps = maps.unflatten(0, pixels.shape[:2])
                features = upper(maps[:, 0].contiguous()).float()
            yield {"maps": maps.half().cpu().numpy(), "features": features.cpu().numpy()}

    return cache, cache.fill(blocks)


@final
class _Views:
    """(views, 3, size, size): the middle, its mirror image, then random crops."""

    def __init__(self, size: int, num: int) -> None:
        self.num = num
        self._middle, self._random = middle_view(size, zoom=1.0), random_view(size, least_area=0.35)

    def __call__(self, image: Any) -> Tensor:
        middle = self._middle(image)
        views = [middle, middle.flip(-1)][: self.num]
        return torch.stack([*views, *(self._random(image) for _ in range(self.num - len(views)))])
