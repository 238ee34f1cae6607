"""One training loop for all that is trained offline: a generator of reports, resumable to the step.

Only what every pillar needs is here: optimiser, precision, schedule, accumulation, many processes, averaging of
weights, checkpoints. What is learned comes in as `batches` and `loss`.
"""

import copy
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, DivergedError
from narrowcast.core.runtime import compute_dtype, seed_step
from narrowcast.core.workers import mean_over_workers, wait_for_all, workers

CHECKPOINT = "training.safetensors"
Net = TypeVar("Net", bound=nn.Module)
Loss = Callable[..., Tensor]  # (net, *tensors of a batch) -> scalar, a mean over the batch


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How long and how fast. Defaults are ours, for distilling small segmenters; see docs/model-card.md."""

    steps: int = 10_000
    batch_size: int = 32  # images a step, over all micro-batches and processes
    accumulate: int = 1  # micro-batches a step and process: a large batch in little memory
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9  # of sgd
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "step"] = "cosine"
    milestones: tuple[float, ...] = (20 / 90, 40 / 90, 60 / 90, 80 / 90)  # of step, as shares of the steps; FACTS 3
    gamma: float = 0.1  # of step: what the rate is multiplied by at each milestone
    warmup_steps: int = 300
    weight_decay: float = 1e-4
    average: float = 0.998  # share of the old in the running average of the weights
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the arithmetic; weights are float32
    checkpoint_every: int = 500
    report_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "learning_rate", "checkpoint_every", "report_every"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"[training] {name} = {getattr(self, name)}: must be positive")
        if not 0 <= self.average < 1:
            raise ConfigError(f"[training] average = {self.average}: must be in [0, 1)")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"[training] momentum = {self.momentum}: must be in [0, 1)")
        if list(self.milestones) != sorted({share for share in self.milestones if 0 < share < 1}):
            raise ConfigError(f"[training] milestones = {list(self.milestones)}: must rise within (0, 1)")
        if not 0 < self.gamma <= 1:
            raise ConfigError(f"[training] gamma = {self.gamma}: must be in (0, 1]")
        if self.warmup_steps < 0 or self.weight_decay < 0:
            raise ConfigError("[training] warmup_steps and weight_decay must not be negative")

    def micro_batch_size(self, num_workers: int = 1) -> int:
        """Images of one micro-batch of one process.

        Raises:
            ConfigError: the batch cannot be cut into that many equal parts.

        >>> TrainConfig(batch_size=1024, accumulate=8).micro_batch_size(2)
        64
        """
        size, rest = divmod(self.batch_size, self.accumulate * num_workers)
        if rest or not size:
            raise ConfigError(
                f"[training] batch_size = {self.batch_size}: must be a multiple of accumulate ({self.accumulate})"
                f" times the number of processes ({num_workers})"
            )
        return size


@dataclass(frozen=True, slots=True)
class TrainReport:
    """The mean loss since the last report, after `done` of `total` steps."""

    done: int
    total: int
    loss: float
    learning_rate: float
    steps_per_s: float


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to zero, or the rate divided at milestones.

    >>> learning_rate_at(10, TrainConfig(steps=10, warmup_steps=1, learning_rate=2.0))
    0.0
    >>> config = TrainConfig(steps=90, warmup_steps=0, learning_rate=1.0, schedule="step", gamma=0.5)
    >>> [learning_rate_at(step, config) for step in (0, 19, 20, 79, 80)]
    [1.0, 1.0, 0.5, 0.125, 0.0625]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        passed = sum(step >= round(share * config.steps) for share in config.milestones)
        return config.learning_rate * config.gamma**passed
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def optimizer_for(groups: Any, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of `config`; its rates are the trainer's to set."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, lr=1.0, weight_decay=config.weight_decay)


def sample_numbers(config: TrainConfig, *, first_step: int) -> Iterator[list[int]]:
    """The numbers of the samples of each micro-batch of this process, from `first_step` to the end.

    All processes together, and a resumed training, see each number from 0 to steps × batch size once.

    >>> list(sample_numbers(TrainConfig(steps=3, batch_size=4, accumulate=2), first_step=1))
    [[4, 5], [6, 7], [8, 9], [10, 11]]
    """
    own, size = workers(), config.micro_batch_size(workers().num)
    for step in range(first_step, config.steps):
        for part in range(config.accumulate):
            first = step * config.batch_size + (part * own.num + own.rank) * size
            yield list(range(first, first + size))


class Trainer(Generic[Net]):
    """A network, its averaged copy and its optimiser, in a folder that training goes on from.

    `averaged` is what should be kept: the exponential average of the weights, with the norm statistics of `net`.
    Under torchrun (`narrowcast.core.workers.joined`) every process trains on its own batches and all take the same
    steps; the first one writes the checkpoints. Before each step the global generators are seeded with `seed` and the
    step's number, so that dropout, too, resumes exactly. `set_modes` puts the
    parts of `net` into training mode: all of them, where it is not given.
    """

    def __init__(
        self,
        net: Net,
        config: TrainConfig,
        *,
        folder: Path,
        groups: Any = None,
        seed: int = 0,
        set_modes: Callable[[Net], Any] = nn.Module.train,
    ) -> None:
        config.micro_batch_size(workers().num)
        self.net, self.config, self.folder, self.seed = net, config, folder, seed
        self.averaged = copy.deepcopy(net).eval().requires_grad_(False)
        self.optimizer = optimizer_for(groups if groups is not None else net.parameters(), config)
        self._scales = [group.get("scale", 1.0) for group in self.optimizer.param_groups]
        self._set_modes = set_modes
        self.step = 0

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False where there is none."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return False
        tensors, meta = checkpoint.load(path)
        checkpoint.load_into(self.net, _with_prefix(tensors, "net."), source=str(path))
        checkpoint.load_into(self.averaged, _with_prefix(tensors, "averaged."), source=str(path))
        checkpoint.load_optimizer(self.optimizer, _with_prefix(tensors, "optimizer."))
        self.step = meta["step"]
        return True

    def save(self) -> None:
        """Write the state from which `resume` continues exactly."""
        if workers().is_first:
            tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
            tensors |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
            state = checkpoint.optimizer_tensors(self.optimizer)
            tensors |= {f"optimizer.{name}": value for name, value in state.items()}
            checkpoint.save(self.folder / CHECKPOINT, tensors, meta={"step": self.step})
        wait_for_all()

    def run(self, batches: Iterable[Sequence[Tensor]], loss: Loss) -> Generator[TrainReport, None, None]:
        """Train on `batches` (tuples of tensors), which begin at the current step, and report now and then.

        A step takes `config.accumulate` of the batches. `loss(net, *tensors)` is a mean over its batch, and calls
        `net(...)` itself rather than its parts: that is what connects the processes of torchrun. A checkpoint is
        written now and then, at the end, and when the generator is closed.

        Raises:
            DivergedError: the loss is not finite; the last checkpoint was written before that.
            StorageError: a checkpoint cannot be written.
        """
        device = next(self.net.parameters()).device
        self._set_modes(self.net)
        net = self._connected(device)
        total, since, started = torch.zeros((), device=device), 0, time.perf_counter()
        for micro_batches in _in_groups(batches, self.config.accumulate):
            rate = self._set_rate()
            seed_step(self.seed, self.step * workers().num + workers().rank)
            self.optimizer.zero_grad(set_to_none=True)
            total += self._backward(net, micro_batches, loss, device)
            self.optimizer.step()
            self.step, since = self.step + 1, since + 1
            self._update_average()
            is_last = self.step >= self.config.steps
            if is_kept := self.step % self.config.checkpoint_every == 0 or is_last:
                self._check(total)
            if self.step % self.config.report_every == 0 or is_last:
                mean = self._check(total) / since  # the only CPU-GPU sync, but for checkpoints
                speed = since / (time.perf_counter() - started)
                try:
                    yield TrainReport(self.step, self.config.steps, mean, rate, speed)
                except GeneratorExit:  # whoever listens has had enough: what was learned is kept
                    self.save()
                    raise
                total, since, started = torch.zeros((), device=device), 0, time.perf_counter()
            if is_kept:  # after the report: one that a checkpoint knows of was heard, and a kill between loses none
                self.save()
            if is_last:
                return

    def _connected(self, device: torch.device) -> nn.Module:
        """The network, its gradients averaged over the processes of torchrun."""
        if workers().num == 1:
            return self.net
        # without the search for unused parameters the first one that gets no gradient would hang all processes
        return DistributedDataParallel(
            self.net, device_ids=[device.index] if device.index is not None else None, find_unused_parameters=True
        )

    def _backward(
        self, net: nn.Module, micro_batches: Sequence[Sequence[Tensor]], loss: Loss, device: torch.device
    ) -> Tensor:
        """Gradients of the mean loss over the micro-batches; that mean."""
        dtype = {"auto": compute_dtype(device), "float32": torch.float32, "bfloat16": torch.bfloat16}[
            self.config.precision
        ]
        total = torch.zeros((), device=device)
        for ix, tensors in enumerate(micro_batches):
            is_last = ix + 1 == len(micro_batches)  # only then do the processes talk
            with net.no_sync() if isinstance(net, DistributedDataParallel) and not is_last else nullcontext():
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    value = loss(net, *(tensor.to(device, non_blocking=True) for tensor in tensors))
                (value / len(micro_batches)).backward()
            total += value.detach() / len(micro_batches)
        return total

    def _check(self, total: Tensor) -> float:
        value = mean_over_workers(total).item()
        if not math.isfinite(value):
            rate = self.config.learning_rate
            raise DivergedError(
                f"{self.folder}: the loss is not finite any more at step {self.step};"
                f" begin anew with a lower training.learning_rate than {rate:g}"
            )
        return value

    def _set_rate(self) -> float:
        rate = learning_rate_at(self.step, self.config)
        for group, scale in zip(self.optimizer.param_groups, self._scales, strict=True):
            group["lr"] = rate * scale
        return rate

    @torch.no_grad()
    def _update_average(self) -> None:
        # early on the average follows closely, or it would remember the random start
        keep = min(self.config.average, self.step / (self.step + 10))
        ours: list[Tensor] = [*self.averaged.parameters()]
        theirs: list[Tensor] = [*self.net.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - keep)  # pyright: ignore[reportPrivateImportUsage] - no public name yet
        for own, new in zip(self.averaged.buffers(), self.net.buffers(), strict=True):
            own.copy_(new)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _in_groups(batches: Iterable[Sequence[Tensor]], num: int) -> Iterator[list[Sequence[Tensor]]]:
    """`num` batches at a time; a group that is not full is left out."""
    iterator = iter(batches)
    while len(group := list(itertools.islice(iterator, num))) == num:
        yield group
