"""Training one method on one split: a generator of reports, resumable, and the classifier that comes of it."""

import copy
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from narrowcast.bgsplit import second_stage
from narrowcast.bgsplit.feed import Feed, run_trunk
from narrowcast.bgsplit.imbalance import log_shares
from narrowcast.bgsplit.method import MethodConfig, MethodLoss
from narrowcast.bgsplit.net import SplitNet, scale_of
from narrowcast.bgsplit.probe import against_background, fit_probe
from narrowcast.bgsplit.second_stage import Linear
from narrowcast.core.errors import UsageError
from narrowcast.core.runtime import seeded
from narrowcast.core.training import TrainConfig, Trainer, TrainReport, sample_numbers
from narrowcast.data.background import BackgroundSplit
from narrowcast.data.image_batches import BalancedClasses, ShuffledEpochs


@dataclass(frozen=True, slots=True, eq=False)
class PseudoLabels:
    """The auxiliary task: a pseudo-label for each row of a table (−1 where there is none), of `num` categories.

    `head` is the auxiliary model's own classifier, where its trunk is the one that trains.
    """

    labels: Int64[np.ndarray, " n"]
    num: int
    head: nn.Linear | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is learned from: inputs, the trained part of a trunk (which stays as it is), labels and pseudo-labels."""

    feed: Feed
    trunk: nn.Module
    split: BackgroundSplit
    pseudo: PseudoLabels | None
    device: torch.device


@final
@dataclass(frozen=True, slots=True, eq=False)
class RareClassifier:
    """What training gives: a network, and the classifier over background and categories on its features."""

    net: SplitNet
    linear: Linear
    logit_scale: float = 1.0

    def features(self, task: Task, rows: Int64[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
        """Scaled features of rows of the task's table."""
        return _features(self.net, task, rows)

    def scores(self, task: Task, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n c"]:
        """log p(class | image) of background and categories (eq. 5.3)."""
        features = self.features(task, rows)
        features = F.normalize(features, dim=1) if self.net.is_cosine else features
        logits = self.linear(features) * self.logit_scale
        return logits.log_softmax(1).numpy()


def train(
    task: Task, method: MethodConfig, training: TrainConfig, *, folder: Path, seed: int = 0
) -> Generator[TrainReport, None, RareClassifier]:
    """Train `method` from the checkpoint in `folder`, where there is one; the generator's value is the classifier.

    Raises:
        UsageError: the method needs pseudo-labels and there are none, or they are of another table.
        DivergedError: the loss is not finite.
    """
    features = task.feed.features(task.split.train_rows)
    split = task.split
    last_row = int(split.train_rows.max())
    num = len(split.categories)
    net = build_net(task.trunk, task.pseudo, method, features, num, last_row=last_row, seed=seed).to(task.device)
    if method.start == "probe" or not method.is_trained:
        probe = _probe(net, method, net.scaled(features.to(task.device)).cpu(), task.split)
        if not method.is_trained:
            return RareClassifier(net.eval(), probe)
        net.load_main(_as_main(probe, method, task.split))
    elif method.start == "prior":
        net.load_main(_prior(net, method, task.split))
    trainer = resumed_trainer(net, method, training, folder=folder, seed=seed)
    if trainer.step < training.steps:
        yield from _run(trainer, task, method, seed=seed)
    return _finished(trainer.averaged, task, method, seed=seed)


def resumed_trainer(
    net: SplitNet, method: MethodConfig, training: TrainConfig, *, folder: Path, seed: int
) -> Trainer[SplitNet]:
    """What trains `net` with the method's rates, from the checkpoint in `folder` on."""
    rates = {"trunk_rate": method.trunk_rate, "main_rate": method.main_rate, "auxiliary_rate": method.auxiliary_rate}
    trainer = Trainer(
        net,
        replace(training, average=method.average or training.average),
        folder=folder,
        groups=net.groups(**rates),
        seed=seed,
        set_modes=SplitNet.set_modes,
    )
    trainer.resume()
    return trainer


def reused(classifier: RareClassifier, task: Task) -> RareClassifier:
    """A balanced probe for the task's categories, on the features that `classifier` learned for others (table 5.6)."""
    features = classifier.features(task, task.split.train_rows)
    return RareClassifier(classifier.net, _probe(classifier.net, MethodConfig(), features, task.split))


def build_net(
    trunk: nn.Module,
    pseudo: PseudoLabels | None,
    method: MethodConfig,
    features: Float[Tensor, "n d"],
    num_categories: int,
    *,
    last_row: int,
    seed: int,
) -> SplitNet:
    """The network before its first step, on a copy of `trunk`; `features` are those of the training images.

    Raises:
        UsageError: the method needs pseudo-labels and there are none, or none for the row `last_row`.
    """
    if method.auxiliary_weight and pseudo is None:
        raise UsageError("the method has an auxiliary loss: it needs pseudo-labels (narrowcast bgsplit aux)")
    pseudo = pseudo if method.auxiliary_weight else None
    if pseudo is not None and len(pseudo.labels) <= last_row:
        raise UsageError(f"{len(pseudo.labels)} pseudo-labels: they are of another table")
    with seeded(seed):
        net = SplitNet(
            copy.deepcopy(trunk).requires_grad_(method.trunk_rate > 0),  # one that was adapted comes frozen
            scale_of(features, method.features),
            num_categories=num_categories,
            num_auxiliary=pseudo.num if pseudo else 0,
            background_logit=method.background_logit if method.clamp else None,
            is_cosine=method.loss == "ldam",
            norm=method.norm,
        )
    if pseudo is not None and pseudo.head is not None and method.auxiliary_start == "own":
        net.load_auxiliary(pseudo.head)
    return net


def _run(
    trainer: Trainer[SplitNet], task: Task, method: MethodConfig, *, seed: int
) -> Generator[TrainReport, None, None]:
    split, device = task.split, task.device
    labels = torch.from_numpy(split.train_labels).to(device)
    pseudo = torch.full_like(labels, -1) if task.pseudo is None else _pseudo_of(task.pseudo, split).to(device)
    order = (
        BalancedClasses(split.train_labels, seed)
        if method.sampling == "balanced"
        else ShuffledEpochs(len(split.train_rows), seed=seed)
    )
    criterion = MethodLoss(method, split.counts.tolist())

    def loss(net: nn.Module, inputs: Tensor, positions: Tensor) -> Tensor:
        progress = trainer.step / trainer.config.steps
        return criterion(net(inputs), labels[positions], pseudo[positions], progress=progress)

    numbers = sample_numbers(trainer.config, first_step=trainer.step)
    yield from trainer.run(task.feed.samples(split.train_rows, numbers, order=order, seed=seed), loss)


def _pseudo_of(pseudo: PseudoLabels, split: BackgroundSplit) -> Tensor:
    return torch.from_numpy(pseudo.labels[split.train_rows])


def _finished(net: SplitNet, task: Task, method: MethodConfig, *, seed: int) -> RareClassifier:
    """The classifier after the second stage, if the method has one."""
    linear, split = net.main_linear(), task.split
    linear = Linear(linear.weight.cpu(), linear.bias.cpu())
    if method.loss == "ldam":
        return RareClassifier(net, linear, method.margin_scale)
    if method.second_stage == "tau-norm":
        return RareClassifier(net, second_stage.tau_norm(linear, tau=method.tau))
    if method.second_stage != "none":
        features = _features(net, task, split.train_rows)
        if method.second_stage == "probe":
            return RareClassifier(net, _probe(net, method, features, split))
        refine = second_stage.learned_scales if method.second_stage == "lws" else second_stage.retrained
        return RareClassifier(net, refine(linear, features, split.train_labels, seed=seed))
    return RareClassifier(net, linear)


def _probe(net: SplitNet, method: MethodConfig, features: Float[Tensor, "n d"], split: BackgroundSplit) -> Linear:
    return fit_probe(
        features.numpy(),
        split.train_labels,
        num_classes=len(split.categories) + 1,
        balanced=method.balanced,
        inverse_strength=method.inverse_strength,
    )


def _prior(net: SplitNet, method: MethodConfig, split: BackgroundSplit) -> Linear:
    """The head's own weights, with biases that make classes as likely as they are; the adjusted loss does so itself."""
    weight, shares = net.main.weight.detach().clone(), torch.tensor(log_shares(split.counts.tolist()))
    shares = torch.zeros_like(shares) if method.loss in ("logit-adjusted", "ldam") else shares
    bias = shares[1:] - shares[0] + method.background_logit if method.clamp else shares
    return Linear(weight, bias)


def _as_main(probe: Linear, method: MethodConfig, split: BackgroundSplit) -> Linear:
    """The probe as a start for the main head: for images as frequent as they are, unless the loss corrects for that."""
    shift = log_shares(split.counts.tolist()) if method.balanced and method.loss != "logit-adjusted" else None
    if method.clamp:
        return against_background(probe, background_logit=method.background_logit, shift=shift)
    return probe if shift is None else Linear(probe.weight, probe.bias + torch.tensor(shift))


def _features(net: SplitNet, task: Task, rows: Int64[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
    return features_of(net, task.feed, rows, device=task.device)


@torch.inference_mode()
def features_of(
    net: SplitNet, feed: Feed, rows: Int64[np.ndarray, " n"], *, device: torch.device
) -> Float[Tensor, "n d"]:
    """What the main head sees of rows of a feed, on the CPU."""
    features = run_trunk(net.trunk, feed.plain(rows), device=device)
    return net.scaled(features.to(device)).cpu()
