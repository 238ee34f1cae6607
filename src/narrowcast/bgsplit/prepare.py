"""From a table and a backbone to what is learned from: the feed, the trained part of the trunk, the auxiliary task."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from narrowcast.bgsplit.auxiliary import AuxiliaryLabels
from narrowcast.bgsplit.feed import Feed, ImageFeed, MapFeed, keep_maps
from narrowcast.bgsplit.train import PseudoLabels, Task
from narrowcast.core.errors import UsageError
from narrowcast.data.background import BackgroundSplit
from narrowcast.data.image_table import ImageTable
from narrowcast.data.row_cache import CacheReport
from narrowcast.models.trunk_parts import cut

ALL_PARTS = -1


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """All that does not depend on the split; `task` is what one split is learned from."""

    table: ImageTable
    feed: Feed
    trunk: nn.Module
    head: nn.Linear | None  # the backbone's own classifier
    device: torch.device

    def task(self, split: BackgroundSplit, auxiliary: AuxiliaryLabels | None, *, is_own: bool = False) -> Task:
        """The task of `split`; `is_own` says that the auxiliary labels are classes of the backbone's own classifier.

        Raises:
            UsageError: the labels are of another table.
        """
        if auxiliary is None:
            return Task(self.feed, self.trunk, split, None, self.device)
        if len(auxiliary.labels) != len(self.table):
            raise UsageError(f"{len(auxiliary.labels)} auxiliary labels for {len(self.table)} images; they disagree")
        head = self.head if is_own and self.head is not None and self.head.out_features == auxiliary.num else None
        return Task(self.feed, self.trunk, split, PseudoLabels(auxiliary.labels, auxiliary.num, head), self.device)


def prepare(
    table: ImageTable, backbone: Any, *, trained_parts: int, cache: Path, num_workers: int = 0
) -> Generator[CacheReport, None, Workbench]:
    """Make the workbench; where only the last parts of the trunk train, what the others give is kept below `cache`.

    `backbone` is a `TorchBackbone`. The generator's value is the workbench.

    Raises:
        UsageError: the backbone is not a torch network that can be trained or cut.
    """
    if not isinstance(getattr(backbone, "net", None), nn.Module):
        raise UsageError(f"the backbone '{backbone.name}' cannot be trained: it is not a network in torch")
    head, device = backbone.head, backbone.device
    if trained_parts == ALL_PARTS:
        size = backbone.size_hw[0]
        feed: Feed = ImageFeed(table, backbone.net, size=size, device=device, num_workers=num_workers)
        return Workbench(table, feed, backbone.net, head, device)
    kept, reports = keep_maps(cache, table, backbone, trained_parts=trained_parts, num_workers=num_workers)
    yield from reports
    _, trunk = cut(backbone.net, trained_parts=trained_parts, size_hw=backbone.size_hw)
    return Workbench(table, MapFeed.open(kept, trunk), trunk, head, device)


def drained(reports: Generator[Any, None, Workbench]) -> Workbench:
    """The value of a generator whose reports nobody wants."""
    while True:
        try:
            next(reports)
        except StopIteration as stopped:
            return stopped.value
