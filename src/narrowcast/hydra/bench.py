"""Masked against dispatched, by the clock: the branch stage, the whole network, a training step."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.dispatch import run_masked
from narrowcast.hydra.net import Execution, HydraNet, hydra_loss
from narrowcast.hydra.routes import top_routes
from narrowcast.metrics.cost import latency_ms

KINDS = ("branches", "network", "training step")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """Medians of one run; `ratio` is dispatched ÷ masked."""

    what: str
    batch: int
    masked_ms: float
    dispatched_ms: float
    ratio: float


def bench(
    net: HydraNet,
    batches: Sequence[int],
    *,
    size_hw: tuple[int, int],
    kinds: Sequence[str] = KINDS,
    repeats: int = 5,
    seed: int = 0,
) -> Iterator[BenchRow]:
    """Time `net` on random images at each batch size, masked and dispatched in turns.

    Which branches an image wants is drawn at random for "branches" and left to the gate for the rest; an untrained gate
    sends most images to the same few branches.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or min(batches, default=0) < 1 or repeats < 1:
        raise ConfigError(f"bench: expected kinds among {', '.join(KINDS)}, batches and repeats of 1 or more")
    rng = torch.Generator().manual_seed(seed)
    device = next(net.parameters()).device
    timers = {"branches": _branches, "network": _network, "training step": _training_step}
    for batch in batches:
        images = torch.rand(batch, 3, *size_hw, generator=rng).to(device)
        for kind in kinds:
            with _as_it_was(net, is_trained=kind == "training step"):
                masked, dispatched = timers[kind](net, images, rng)
                masked_ms, dispatched_ms = in_turns([masked, dispatched], repeats=repeats)
            yield BenchRow(
                what=kind,
                batch=batch,
                masked_ms=masked_ms,
                dispatched_ms=dispatched_ms,
                ratio=dispatched_ms / masked_ms,
            )


def in_turns(calls: Sequence[Callable[[], Any]], *, repeats: int) -> list[float]:
    """Median milliseconds of each call, called in turns so that a slow moment of the machine falls on all alike.

    Each turn takes a fast call often enough to last about 20 ms, after one that does not count.
    """
    counts = [max(1, min(20, round(20 / max(latency_ms(call, repeats=1, warmup=1).min_ms, 1e-3)))) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, count, found in zip(calls, counts, times, strict=True):
            # warm: what ran before it has emptied the caches and given the memory back
            found.append(latency_ms(call, repeats=count, warmup=1).median_ms)
    return [statistics.median(found) for found in times]


Pair = tuple[Callable[[], Any], Callable[[], Any]]


def _branches(net: HydraNet, images: Tensor, rng: torch.Generator) -> Pair:
    net.eval()
    branches = list(net.branches)
    with torch.inference_mode():
        features = net.stem(images)
    wanted = torch.rand(len(images), len(branches), generator=rng).to(images.device)
    routes = top_routes(wanted, net.num_chosen)

    @torch.inference_mode()
    def masked() -> Tensor:
        return net.combine(*run_masked(branches, features, routes, all_statistics=True), num_slots=net.num_slots)

    @torch.inference_mode()
    def dispatched() -> Tensor:
        form = net._dispatcher.fastest(branches, features, routes) if net.form == "auto" else net.form
        return net.combine(*net._dispatcher.run(branches, features, routes, form=form), num_slots=net.num_slots)

    return masked, dispatched


def _network(net: HydraNet, images: Tensor, rng: torch.Generator) -> Pair:
    net.eval()

    def run(execution: Execution) -> Callable[[], Any]:
        @torch.inference_mode()
        def call() -> Any:
            net.execution = execution
            return net(images)

        return call

    return run("masked"), run("dispatched")


def _training_step(net: HydraNet, images: Tensor, rng: torch.Generator) -> Pair:
    """Forward, backward and an SGD step with the learning rate 0, so that the weights stay."""
    net.train()
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)

    def step(execution: Execution) -> Callable[[], None]:
        def call() -> None:
            net.execution, net.norm_rows = execution, "all" if execution == "masked" else "chosen"
            loss = hydra_loss(net(images), labels, gate=net.gate)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return call

    return step("masked"), step("dispatched")


@contextmanager
def _as_it_was(net: HydraNet, *, is_trained: bool) -> Iterator[None]:
    """After the block the net's state, mode and settings are those before it."""
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()} if is_trained else {}
    before = net.training, net.execution, net.norm_rows
    try:
        yield
    finally:
        if is_trained:  # norms have learned
            net.load_state_dict(state)
        net.zero_grad(set_to_none=True)
        net.train(before[0])
        net.execution, net.norm_rows = before[1], before[2]
