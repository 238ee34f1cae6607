"""One training loop for all that is trained offline: a generator of reports, resumable to the step.

Only what every pillar needs is here: precision, warm-up and cosine, averaging of weights, checkpoints. What is learned
comes in as `batches` and `loss`.
"""

import copy
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, DivergedError
from narrowcast.core.runtime import compute_dtype

CHECKPOINT = "training.safetensors"
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How long and how fast. Defaults are ours, for distilling small segmenters; see docs/model-card.md."""

    steps: int = 10_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    weight_decay: float = 1e-4
    average: float = 0.998  # share of the old in the running average of the weights
    checkpoint_every: int = 500
    report_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "checkpoint_every", "report_every"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"[training] {name} = {getattr(self, name)}: must be positive")
        if not 0 <= self.average < 1:
            raise ConfigError(f"[training] average = {self.average}: must be in [0, 1)")


@dataclass(frozen=True, slots=True)
class TrainReport:
    """The mean loss since the last report, after `done` of `total` steps."""

    done: int
    total: int
    loss: float
    learning_rate: float
    steps_per_s: float


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to zero.

    >>> learning_rate_at(10, TrainConfig(steps=10, warmup_steps=1, learning_rate=2.0))
    0.0
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Trainer(Generic[Net]):
    """A network, its averaged copy and its optimiser, in a folder that training goes on from.

    `averaged` is what should be kept: the exponential average of the weights, with the norm statistics of `net`.
    """

    def __init__(self, net: Net, config: TrainConfig, *, folder: Path, groups: Any = None) -> None:
        self.net, self.config, self.folder = net, config, folder
        self.averaged = copy.deepcopy(net).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            groups if groups is not None else net.parameters(), lr=1.0, weight_decay=config.weight_decay
        )
        self._scales = [group.get("scale", 1.0) for group in self.optimizer.param_groups]
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
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in checkpoint.optimizer_tensors(self.optimizer).items()}
        checkpoint.save(self.folder / CHECKPOINT, tensors, meta={"step": self.step})

    def run(
        self, batches: Iterable[Sequence[Tensor]], loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    ) -> Generator[TrainReport, None, None]:
        """Train on `batches` (inputs and targets), which begin at the current step, and report now and then.

        A checkpoint is written now and then, at the end, and when the generator is closed.

        Raises:
            DivergedError: the loss is not finite; the last checkpoint was written before that.
            StorageError: a checkpoint cannot be written.
        """
        device = next(self.net.parameters()).device
        dtype = compute_dtype(device)
        self.net.train()
        total, since, started = torch.zeros((), device=device), 0, time.perf_counter()
        for inputs, targets in batches:
            rate = self._set_rate()
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                value = loss(self.net, inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True))
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            self.optimizer.step()
            self.step += 1
            self._update_average()
            total, since = total + value.detach(), since + 1
            is_last = self.step >= self.config.steps
            if self.step % self.config.checkpoint_every == 0 or is_last:
                self._check(total)
                self.save()
            if self.step % self.config.report_every == 0 or is_last:
                mean = self._check(total) / since  # the only CPU-GPU sync, but for checkpoints
                speed = since / (time.perf_counter() - started)
                try:
                    yield TrainReport(self.step, self.config.steps, mean, rate, speed)
                except GeneratorExit:  # whoever listens has had enough: what was learned is kept
                    self.save()
                    raise
                total, since, started = torch.zeros((), device=device), 0, time.perf_counter()
            if is_last:
                return

    def _check(self, total: Tensor) -> float:
        value = total.item()
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
