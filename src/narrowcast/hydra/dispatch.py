"""The ways to run chosen branches. All compute the same rows; they differ in what they waste.

| form | runs | wastes |
|---|---|---|
| masked | every branch on every image, then picks rows (the thesis's training) | (n_b − k) / n_b of the work |
| loop | each branch on its own images | small batches a branch |
| gathered | all rows at once, each with its branch's weights | a copy of the weights for each row |
| sorted | rows in order of branch, pixels last, one matrix product a branch | reordering |

Which is fastest depends on batch size and width: `Dispatcher` measures once for each.
"""

import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from narrowcast.hydra import rows as row_layers
from narrowcast.hydra.norms import statistics_of
from narrowcast.hydra.routes import Routes

Form = Literal["loop", "gathered", "sorted"]
FORMS: tuple[Form, ...] = ("loop", "gathered", "sorted")
_VERSION = operator.attrgetter("_version")
MEASURED_CALLS = 3  # of each form, after one that does not count


def by_branch(routes: Routes, num_branches: int) -> tuple[Routes, list[int]]:
    """The routes in order of branch, and how many rows each branch has."""
    order = routes.branch_ix.argsort(stable=True)
    counts = routes.branch_ix.bincount(minlength=num_branches)
    return routes.take(order), counts.tolist()  # the only CPU-GPU sync of a dispatched step


def run_masked(
    branches: Sequence[nn.Module], x: Tensor, routes: Routes, *, all_statistics: bool
) -> tuple[Tensor, Routes]:
    """Every branch on every image; rows of branches that are not chosen are dropped, so that nothing flows back.

    Args:
        all_statistics: batch norms in training see all images (the thesis's masked training), or those that are routed
            to their branch (as in dispatched training).
    """
    routes, counts = by_branch(routes, len(branches))
    picked = []
    for branch, image_ix in zip(branches, routes.image_ix.split(counts), strict=True):
        if all_statistics or not branch.training:
            out = branch(x)
        else:
            with statistics_of(branch, image_ix):
                out = branch(x)
        picked.append(out.index_select(0, image_ix))
    return torch.cat(picked), routes


def run_loop(branches: Sequence[nn.Module], x: Tensor, routes: Routes) -> tuple[Tensor, Routes]:
    """Each branch on the images that are routed to it."""
    routes, counts = by_branch(routes, len(branches))
    outs = []
    for branch, image_ix in zip(branches, routes.image_ix.split(counts), strict=True):
        if len(image_ix) == 1 and branch.training:  # perhaps too little for a batch norm
            with statistics_of(branch, image_ix.new_zeros(1)):
                outs.append(branch(x.index_select(0, image_ix)))
        elif len(image_ix):
            outs.append(branch(x.index_select(0, image_ix)))
    return torch.cat(outs), routes


@dataclass(slots=True)
class _Stacked:
    """The weights of all branches, stacked, and those they were made from."""

    tensors: list[Tensor]
    writes: int | None
    module: nn.Module
    rows: row_layers.Rows


@final
class Dispatcher:
    """Runs the chosen branches of one network in the form that is asked for, or in the fastest.

    It keeps the stacked weights of the branches for inference, and makes them anew when a weight was written to.
    `forget` must be called where tensors are replaced by others, as when a network moves to another device.
    """

    def __init__(self) -> None:
        self._traced: Any = None
        self._why_not = ""
        self._stacked: _Stacked | None = None
        self._fastest: dict[tuple[Any, ...], Form] = {}

    def __deepcopy__(self, _: dict[int, Any]) -> "Dispatcher":
        return Dispatcher()

    def __reduce__(self) -> tuple[Callable[[], "Dispatcher"], tuple[()]]:
        return Dispatcher, ()

    def forget(self) -> None:
        """Drop the stacked weights and what was measured."""
        self._stacked = None
        self._fastest.clear()

    def run(self, branches: Sequence[nn.Module], x: Tensor, routes: Routes, *, form: Form) -> tuple[Tensor, Routes]:
        """The rows of `routes`, perhaps in another order, with the routes in that order."""
        if (form == "loop" and torch.is_grad_enabled()) or self.why_not_rows(branches):
            return run_loop(branches, x, routes)
        counts: list[int] = []
        if form != "gathered":
            routes, counts = by_branch(routes, len(branches))
        module, rows = self._rows_module(branches)
        rows.branch_ix, rows.counts, rows.only = routes.branch_ix, counts, -1
        if form == "loop":  # as `run_loop`, with folded norms
            outs = []
            for branch, image_ix in enumerate(routes.image_ix.split(counts)):
                if len(image_ix):
                    rows.only = branch
                    outs.append(module(x.index_select(0, image_ix)))
            return torch.cat(outs), routes
        return module(x.index_select(0, routes.image_ix)), routes

    def why_not_rows(self, branches: Sequence[nn.Module]) -> str:
        """Why only the loop can run these branches; empty where all forms can."""
        if any(branch.training for branch in branches) and any(
            isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.training for module in branches[0].modules()
        ):
            return "batch norms in training want each branch's images together"
        if self._traced is None and not self._why_not:
            try:
                self._traced = row_layers.trace(branches)
            except row_layers.UntraceableBranchError as error:
                self._why_not = str(error)
        return self._why_not

    def fastest(self, branches: Sequence[nn.Module], x: Tensor, routes: Routes) -> Form:
        """The form that ran these rows fastest, measured at the first batch of about this size (a power of two)."""
        if torch.is_grad_enabled() or self.why_not_rows(branches):
            return "loop"  # the fastest for training at every batch size: benchmarks/results/hydra-dispatch.json
        key = (len(routes.image_ix).bit_length(), *x.shape[1:], x.dtype, x.device)
        if key not in self._fastest:
            self._fastest[key] = min(FORMS, key=lambda form: self._time_s(branches, x, routes, form))
        return self._fastest[key]

    def _time_s(self, branches: Sequence[nn.Module], x: Tensor, routes: Routes, form: Form) -> float:
        times = []
        for _ in range(1 + MEASURED_CALLS):
            _wait(x.device)
            started = time.perf_counter()
            self.run(branches, x, routes, form=form)
            _wait(x.device)
            times.append(time.perf_counter() - started)
        return min(times[1:])

    def _rows_module(self, branches: Sequence[nn.Module]) -> tuple[nn.Module, row_layers.Rows]:
        if torch.is_grad_enabled():
            return row_layers.row_branch(self._traced, branches, folded=False)
        stacked = self._stacked
        if stacked is None or stacked.writes is None or stacked.writes != _writes(stacked.tensors):
            tensors = [tensor for branch in branches for tensor in (*branch.parameters(), *branch.buffers())]
            module, rows = row_layers.row_branch(self._traced, branches, folded=True)
            stacked = self._stacked = _Stacked(tensors, _writes(tensors), module, rows)
        return stacked.module, stacked.rows


def _writes(tensors: Sequence[Tensor]) -> int | None:
    """How often they were written to in place, in all; None where torch does not count (tensors of inference mode)."""
    try:
        return sum(map(_VERSION, tensors))  # at batch 1 a loop in Python would take a twentieth of the time
    except RuntimeError:
        return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
