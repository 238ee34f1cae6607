"""How the outputs of an image's branches become one: the sum of equation 3.1, their mean, or side by side."""

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.routes import Routes


class Combine(Protocol):
    """Rows of branch outputs, in any order, and their routes become one tensor an image."""

    def __call__(
        self, rows: Float[Tensor, "rows *shape"], routes: Routes, *, num_slots: int
    ) -> Float[Tensor, "n *shape2"]: ...


def add(rows: Float[Tensor, "rows *shape"], routes: Routes, *, num_slots: int) -> Float[Tensor, "n *shape"]:
    """Equation 3.1: the sum over an image's branches; `num_slots` does not matter."""
    rows = _weighted(rows, routes)
    total = rows.new_empty(routes.num_images, *rows.shape[1:])
    if rows.ndim == 4 and rows.is_contiguous(memory_format=torch.channels_last):  # adding across layouts is slow
        total = total.to(memory_format=torch.channels_last)
    return total.zero_().index_add_(0, routes.image_ix, rows)


def average(rows: Float[Tensor, "rows *shape"], routes: Routes, *, num_slots: int) -> Float[Tensor, "n *shape"]:
    """The mean over an image's branches, so that copies of a block give what the block gave (ours, for upcycling)."""
    ones = rows.new_ones(len(rows)) if routes.weight is None else routes.weight
    total = rows.new_zeros(routes.num_images).index_add(0, routes.image_ix, ones.to(rows.dtype))
    return add(rows, routes, num_slots=num_slots) / total.view(-1, *(1,) * (rows.ndim - 1))


def concatenate(rows: Float[Tensor, "rows *shape"], routes: Routes, *, num_slots: int) -> Float[Tensor, "n *shape2"]:
    """Side by side along the channels, the most wanted branch first; (n, num_slots · channels, ...).

    The thesis says that concatenation works as well and costs more, not in which order; this order is ours.
    """
    if int(routes.rank.max()) >= num_slots:
        raise ConfigError(f"concatenation has room for {num_slots} branches an image, and more were chosen")
    rows = _weighted(rows, routes)
    slots = rows.new_zeros(routes.num_images, num_slots, *rows.shape[1:])
    return slots.index_put((routes.image_ix, routes.rank), rows).flatten(1, 2)


def _weighted(rows: Tensor, routes: Routes) -> Tensor:
    if routes.weight is None:
        return rows
    return rows * routes.weight.to(rows.dtype).view(-1, *(1,) * (rows.ndim - 1))
