"""Training a classifier, branched or static, in a run folder: resumable to the step, scored at the end."""

import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrowcast.core.config import to_dict
from narrowcast.core.errors import ConfigError
from narrowcast.core.runs import RunFolder
from narrowcast.core.runtime import describe, seed_everything
from narrowcast.core.training import CHECKPOINT, TrainConfig, Trainer, TrainReport, sample_numbers
from narrowcast.core.workers import joined, workers
from narrowcast.data.image_tensors import normalised
from narrowcast.hydra.architecture import NetConfig, build, save_classifier
from narrowcast.hydra.evaluate import Scores, evaluate_each, executed_macs, numbers_to_try
from narrowcast.hydra.images import LabelledImages, plain_batches, training_batches
from narrowcast.hydra.net import HydraNet, hydra_loss
from narrowcast.hydra.partition import Partition
from narrowcast.hydra.report import write_report
from narrowcast.hydra.warm_start import RUN_FILE, read_weights
from narrowcast.metrics.cost import count_params

NET = RUN_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """The [run] section; ours."""

    epochs: int = 60
    gate_weight: float = 1.0  # of the gate's loss beside the classes'; the thesis names none
    execution: Literal["masked", "dispatched"] = "dispatched"  # while training
    norm_rows: Literal["all", "chosen"] = "chosen"
    num_workers: int = 2  # processes that decode, for images above 64 pixels
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.gate_weight < 0 or self.num_workers < 0:
            raise ConfigError("[run] epochs must be at least 1, gate_weight and num_workers not negative")
        if self.norm_rows == "all" and self.execution == "dispatched":
            raise ConfigError('[run] norm_rows = "all" needs execution = "masked"')


def steps_for(training: TrainConfig, *, epochs: int, num_images: int) -> TrainConfig:
    """`training` for so many epochs, with a checkpoint after each.

    Reports come at equal distances within an epoch, so that those after a checkpoint are the same in a resumed run.

    >>> config = steps_for(TrainConfig(batch_size=8, report_every=5), epochs=2, num_images=75)
    >>> config.steps, config.checkpoint_every, config.report_every
    (18, 9, 3)
    """
    each = max(1, num_images // training.batch_size)
    return dataclasses.replace(
        training,
        steps=epochs * each,
        checkpoint_every=each,
        report_every=max(num for num in range(1, min(training.report_every, each) + 1) if each % num == 0),
        warmup_steps=min(training.warmup_steps, epochs * each // 4),
    )


def train(
    data: LabelledImages,
    *,
    net: NetConfig,
    run: RunConfig,
    training: TrainConfig,
    partition: Partition | None,
    folder: Path,
    device: torch.device,
    resume: bool = False,
) -> Generator[TrainReport, None, None]:
    """Train the network of `net` in `folder`, and report now and then.

    At the end `folder` holds `net.safetensors` (the averaged weights), `summary.json` and `report.html`. A run that was
    ended early (by closing this generator, a signal or a kill) goes on from its checkpoint with `resume`, to the same
    end. Under torchrun every process calls this.

    Args:
        data: of `open_images`.
        net: what to build.
        run: how to run.
        training: `steps`, `checkpoint_every` and `warmup_steps` are made to fit `run.epochs` (`steps_for`).
        partition: for supervised gates, with classes in the order of `data.classes`.
        folder: empty, or a run's.
        device: where to compute.
        resume: go on with the run in `folder`.

    Raises:
        UsageError: `folder` holds a run and `resume` is not given, or it holds a run with other settings.
    """
    with joined(device):
        yield from _train(data, net, run, training, partition, folder, device, resume)


def _train(
    data: LabelledImages,
    net: NetConfig,
    run: RunConfig,
    training: TrainConfig,
    partition: Partition | None,
    folder: Path,
    device: torch.device,
    resume: bool,
) -> Generator[TrainReport, None, None]:
    training = steps_for(training, epochs=run.epochs, num_images=len(data.train))
    branches = list(partition.branch_of_class) if partition is not None else []
    seed_everything(run.seed)
    is_begun = (folder / CHECKPOINT).exists()
    weights = read_weights(net.weights, arch=net.arch) if net.weights and not is_begun else None
    built = prepared(build(net, len(data.classes), branch_of_class=branches, weights=weights), run).to(device)
    config = {"net": to_dict(net), "run": to_dict(run), "training": to_dict(training), "data": data.key}
    config |= {"branch_of_class": branches, "size": data.size}
    signed = {"kind": "hydra train", "config": config, "environment": describe(device)}
    if not workers().is_first:
        yield from _fit(built, data, run, training, folder, lambda _: None)
        return
    with RunFolder.open(folder, signed, resume=resume) as opened:
        trainer = _trainer(built, run, training, folder)
        opened.keep_reports(before_frame=trainer.step + 1, key="step")
        seconds = max((report["seconds"] for report in opened.reports()), default=0.0)
        started = time.perf_counter() - seconds

        def note(report: TrainReport) -> None:
            line = {"step": report.done, "of": report.total, "loss": report.loss, "learning_rate": report.learning_rate}
            opened.append(line | {"steps_per_s": report.steps_per_s, "seconds": time.perf_counter() - started})

        yield from _fit(built, data, run, training, folder, note, trainer)
        opened.flush()
        averaged = trainer.averaged
        if isinstance(averaged, HydraNet):
            averaged.form = "loop"  # the measured form may differ between machines, and with it the last digits
        plain = plain_batches(data.test, size=data.size, num_workers=run.num_workers)
        scores = scored(averaged, plain, branch_of_class=torch.tensor(branches) if branches else None)
        save_classifier(folder / NET, averaged, net, classes=data.classes, size=data.size, branch_of_class=branches)
        last = max((report["seconds"] for report in opened.reports()), default=0.0)
        about = {"status": "finished", "arch": net.arch, "num_trained": len(data.train), "seconds": last}
        opened.write_summary(about | summary(averaged, scores, data.classes, size=data.size))
        write_report(folder, list(opened.reports()), partition)


def prepared(net: nn.Module, run: RunConfig) -> nn.Module:
    """`net` with the execution of `run`; a static network as it is."""
    if isinstance(net, HydraNet):
        net.execution, net.norm_rows = run.execution, run.norm_rows
    return net


def _trainer(net: nn.Module, run: RunConfig, training: TrainConfig, folder: Path) -> Trainer[nn.Module]:
    trainer = Trainer(net, training, folder=folder, seed=run.seed)
    trainer.resume()
    return trainer


def _fit(
    net: nn.Module,
    data: LabelledImages,
    run: RunConfig,
    training: TrainConfig,
    folder: Path,
    note: Callable[[TrainReport], None],
    trainer: Trainer[nn.Module] | None = None,
) -> Generator[TrainReport, None, None]:
    trainer = trainer or _trainer(net, run, training, folder)
    if trainer.step >= training.steps:
        return
    numbers = sample_numbers(training, first_step=trainer.step)
    batches = training_batches(data, numbers, seed=run.seed, num_workers=run.num_workers)
    for report in trainer.run(batches, loss_for(net, gate_weight=run.gate_weight)):
        note(report)
        yield report


def loss_for(net: nn.Module, *, gate_weight: float) -> Callable[..., Tensor]:
    """The loss of `net`, or of `net` behind torchrun's wrapper, on 8-bit images and labels."""

    def hydra(called: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        assert isinstance(net, HydraNet)
        return hydra_loss(called(normalised(images)), labels, gate=net.gate, gate_weight=gate_weight)

    def static(called: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(called(normalised(images)).float(), labels)

    return hydra if isinstance(net, HydraNet) else static


def scored(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, branch_of_class: Tensor | None
) -> dict[int, Scores]:
    """The scores with `num_chosen` branches first, then with those of `numbers_to_try`; a static network's under 0."""
    own = net.num_chosen if isinstance(net, HydraNet) else 0
    return evaluate_each(net, batches, [own, *numbers_to_try(net)], branch_of_class=branch_of_class)


def summary(net: nn.Module, scores: Mapping[int, Scores], classes: Sequence[str], *, size: int) -> dict[str, Any]:
    """What `summary.json` says of the network, of `scored`'s answer."""
    own = next(iter(scores.values()))
    macs = partial(executed_macs, net, (size, size))
    tried = {str(num): scores[num] for num in sorted(scores) if num in numbers_to_try(net)}
    return {
        "top1": own.top1,
        "top5": own.top5,
        "num_scored": own.num_images,
        "size": size,
        "params": count_params(net),
        "macs_executed": macs(mean_chosen=own.mean_chosen),
        "num_chosen": net.num_chosen if isinstance(net, HydraNet) else None,
        "mean_chosen": own.mean_chosen,
        "gate_hit": own.gate_hit,
        "usage": list(own.usage),
        "by_chosen": {
            num: {"top1": each.top1, "top5": each.top5, "gate_hit": each.gate_hit}
            | {"mean_chosen": each.mean_chosen, "macs_executed": macs(mean_chosen=each.mean_chosen)}
            for num, each in tried.items()
        },
        "classes": {name: each._asdict() for name, each in zip(classes, own.classes, strict=True)},
    }
