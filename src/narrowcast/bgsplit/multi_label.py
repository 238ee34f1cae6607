"""Training and scoring where an image may show several categories, and where labels are missing (section 4.2).

Each category against the clamped background on its own: p(n | x) = σ(w_n · F(x) + b_n − b_0), learned from and scored
on the labels that are known. The auxiliary loss needs no label and counts on every training image.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from narrowcast.bgsplit.evaluate import Evaluation, evaluate_known
from narrowcast.bgsplit.loss import UNKNOWN, auxiliary_loss, multi_label_loss
from narrowcast.bgsplit.method import METHODS, MethodConfig
from narrowcast.bgsplit.net import SplitNet
from narrowcast.bgsplit.prepare import Workbench
from narrowcast.bgsplit.second_stage import Linear
from narrowcast.bgsplit.train import PseudoLabels, RareClassifier, build_net, features_of, resumed_trainer
from narrowcast.core.errors import UsageError
from narrowcast.core.training import TrainConfig, Trainer, TrainReport, sample_numbers
from narrowcast.data.image_batches import ShuffledEpochs
from narrowcast.data.known_labels import KnownLabels


@dataclass(frozen=True, slots=True, eq=False)
class MultiTask:
    """What is learned from: a workbench, labels of its table, and pseudo-labels where the method needs them."""

    bench: Workbench
    known: KnownLabels
    pseudo: PseudoLabels | None


def has_multi_label(method: MethodConfig) -> bool:
    """Whether a method has a multi-label form: the clamped background, cross-entropy, no second stage."""
    is_plain = method.loss == "cross-entropy" and method.sampling == "uniform" and method.second_stage == "none"
    return method.clamp and is_plain and method.train == "joint" and method.start != "probe"


def train_multi_label(
    task: MultiTask, method: MethodConfig, training: TrainConfig, *, folder: Path, seed: int = 0
) -> Generator[TrainReport, None, RareClassifier]:
    """Train `method` from the checkpoint in `folder`, where there is one; the generator's value is the classifier.

    Raises:
        UsageError: the method has no multi-label form, or needs pseudo-labels that are not there.
        DivergedError: the loss is not finite.
    """
    if not has_multi_label(method):
        names = ", ".join(name for name, one in METHODS.items() if has_multi_label(one))
        raise UsageError(f"the method has no multi-label form; these have: {names}")
    bench, rows = task.bench, task.known.rows("train")
    labels = torch.from_numpy(task.known.labels[rows])
    features = bench.feed.features(rows)
    net = build_net(bench.trunk, task.pseudo, method, features, labels.shape[1], last_row=int(rows.max()), seed=seed)
    if method.start == "prior":
        net.load_main(_prior(net, labels, background_logit=method.background_logit))
    trainer = resumed_trainer(net.to(bench.device), method, training, folder=folder, seed=seed)
    if trainer.step < training.steps:
        yield from _run(trainer, task, method, rows, labels, seed=seed)
    linear = trainer.averaged.main_linear()
    return RareClassifier(trainer.averaged, Linear(linear.weight.cpu(), linear.bias.cpu()))


def _run(
    trainer: Trainer[SplitNet],
    task: MultiTask,
    method: MethodConfig,
    rows: Int64[np.ndarray, " n"],
    labels: Tensor,
    *,
    seed: int,
) -> Generator[TrainReport, None, None]:
    device = task.bench.device
    known = labels.to(device)
    pseudo = torch.full((len(rows),), UNKNOWN) if task.pseudo is None else torch.from_numpy(task.pseudo.labels[rows])
    pseudo = pseudo.to(device)

    def loss(net: nn.Module, inputs: Tensor, positions: Tensor) -> Tensor:
        outputs = net(inputs)
        main = multi_label_loss(outputs.main[:, 1:], known[positions], background_logit=method.background_logit)
        if outputs.auxiliary is None:
            return main
        return main + method.auxiliary_weight * auxiliary_loss(outputs.auxiliary.float(), pseudo[positions])

    order = ShuffledEpochs(len(rows), seed=seed)
    numbers = sample_numbers(trainer.config, first_step=trainer.step)
    yield from trainer.run(task.bench.feed.samples(rows, numbers, order=order, seed=seed), loss)


def _prior(net: SplitNet, labels: Int64[Tensor, "n k"], *, background_logit: float) -> Linear:
    """The head's own weights, with biases that make each category as likely as it is among its known labels."""
    shown, known = (labels == 1).sum(0), (labels != UNKNOWN).sum(0)
    share = ((shown + 0.5) / (known + 1)).float()  # never 0 or 1: half an image of each
    return Linear(net.main.weight.detach().clone(), torch.logit(share) + background_logit)


def log_probabilities(
    classifier: RareClassifier, bench: Workbench, rows: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, "n k"]:
    """log p(category | image) of each category on its own."""
    logits = classifier.linear(features_of(classifier.net, bench.feed, rows, device=bench.device))
    return F.logsigmoid(logits[:, 1:] - logits[:, :1]).numpy()


def score_multi_label(classifier: RareClassifier, bench: Workbench, known: KnownLabels) -> Evaluation:
    """On the known labels of the test images, with thresholds chosen on those of the training images."""
    train, test = known.rows("train"), known.rows("test")
    return evaluate_known(
        log_probabilities(classifier, bench, test),
        known.labels[test],
        categories=known.categories,
        train_scores=log_probabilities(classifier, bench, train),
        train_labels=known.labels[train],
    )
