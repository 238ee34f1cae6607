"""Batch norm under masking: which images its statistics are made of.

In masked training every branch sees every image, in dispatched training only those that are routed to it. So that
masked training can compute the same function, a branch's batch norms can be told to look at some rows only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@contextmanager
def statistics_of(branch: nn.Module, rows: Tensor) -> Iterator[None]:
    """In the block, the batch norms of `branch` that are training normalise all rows by the statistics of `rows`.

    Where these have less than two values a channel (no row, or one row of one pixel), from which nothing can be
    learned, the norms use their running statistics and leave them alone; torch would raise an error.
    """
    norms: list[Any] = [module for module in branch.modules() if isinstance(module, NORMS) and module.training]
    for norm in norms:
        norm.forward = partial(_forward, norm, rows)  # an instance's own, in the place of the class's
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(norm: Any, rows: Tensor, x: Tensor) -> Tensor:
    seen = x.index_select(0, rows)
    if seen.numel() <= seen.shape[1]:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    type(norm).forward(norm, seen.detach())  # for the running statistics
    axes = [0, *range(2, x.ndim)]
    shape = (1, -1, *(1,) * (x.ndim - 2))
    mean = seen.mean(axes).view(shape)
    variance = seen.var(axes, unbiased=False).view(shape)
    out = (x - mean) * (variance + norm.eps).rsqrt()
    return out if norm.weight is None else out * norm.weight.view(shape) + norm.bias.view(shape)
