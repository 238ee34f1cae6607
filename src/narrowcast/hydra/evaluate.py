"""How good a classifier is, and what it executed: top-1, top-5, the gate's choices."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.combine import concatenate
from narrowcast.hydra.gate import NoGate
from narrowcast.hydra.net import HydraNet, HydraOutput
from narrowcast.metrics.cost import count_macs


class ClassScores(NamedTuple):
    """Of the images of one class: how many, the share that was named right, the share for which its branch ran."""

    num: int
    top1: float
    gate_hit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of one pass over labelled images.

    Attributes:
        top1, top5: share of images whose class is the best, or among the five best.
        num_images: in all.
        mean_chosen: branches an image, on average; None for a static network.
        gate_hit: share of images for which the branch of their class ran; None where classes have no branches.
        usage: share of the images that each branch ran for; empty for a static network.
        classes: of each class by itself; shares are 0 where it has no image.
    """

    top1: float
    top5: float
    num_images: int
    mean_chosen: float | None = None
    gate_hit: float | None = None
    usage: tuple[float, ...] = ()
    classes: tuple[ClassScores, ...] = ()


def logits_of(net: nn.Module, images: Tensor) -> Float[Tensor, "n classes"]:
    """What `net` says of the images, whether it is a HydraNet or a static network."""
    output = net(images)
    return output.logits if isinstance(output, HydraOutput) else output


def evaluate(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, branch_of_class: Tensor | None = None
) -> Scores:
    """Score `net` on (images, labels), images normalised.

    Raises:
        ConfigError: there are no images.
    """
    as_it_is = [net.num_chosen if isinstance(net, HydraNet) else 0]
    (scores,) = evaluate_each(net, batches, as_it_is, branch_of_class=branch_of_class).values()
    return scores


@torch.inference_mode()
def evaluate_each(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    num_chosen: Sequence[int],
    *,
    branch_of_class: Tensor | None = None,
) -> dict[int, Scores]:
    """The scores with each of these numbers of branches an image, in one pass; of a static network with [0].

    Raises:
        ConfigError: there are no images.
    """
    net.eval()
    device = next(net.parameters()).device
    branch = None if branch_of_class is None else branch_of_class.to(device)
    tallies = {num: _Tally(branch) for num in num_chosen}
    before = net.num_chosen if isinstance(net, HydraNet) else 0
    try:
        for images, labels in batches:
            images, labels = images.to(device), labels.to(device)
            if not isinstance(net, HydraNet):
                tallies[0].add(net(images), labels, 0)
                continue
            features = net.stem(images)
            for net.num_chosen, tally in tallies.items():
                tally.add(net.after_stem(features), labels, len(net.branches))
    finally:
        if isinstance(net, HydraNet):
            net.num_chosen = before
    return {num: tally.scores() for num, tally in tallies.items()}


def numbers_to_try(net: nn.Module) -> list[int]:
    """Numbers of branches an image that show what more or fewer would bring: 1, 2, 4 … to twice those of the net."""
    if not isinstance(net, HydraNet) or isinstance(net.gate, NoGate):
        return []
    most = min(len(net.branches), net.num_slots if net.combine is concatenate else 2 * net.num_chosen)
    return sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {net.num_chosen})


@final
class _Tally:
    """Counts over batches, on the device until they are asked for."""

    def __init__(self, branch_of_class: Tensor | None) -> None:
        self._branch_of_class = branch_of_class
        self._top5 = 0
        self._seen: Any = 0  # by class
        self._right: Any = 0
        self._hits: Any = 0
        self._usage: Any = None

    def add(self, output: HydraOutput | Tensor, labels: Tensor, num_branches: int) -> None:
        logits = output.logits if isinstance(output, HydraOutput) else output
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        self._top5 += int(best.sum())
        num_classes = logits.shape[1]
        self._seen += labels.bincount(minlength=num_classes)
        self._right += labels[best[:, 0]].bincount(minlength=num_classes)
        if isinstance(output, HydraOutput):
            ran = output.routes.is_chosen(num_branches)
            self._usage = ran.sum(0) + (0 if self._usage is None else self._usage)
            if self._branch_of_class is not None:
                is_hit = ran.gather(1, self._branch_of_class[labels][:, None])[:, 0]
                self._hits += labels[is_hit].bincount(minlength=num_classes)

    def scores(self) -> Scores:
        if isinstance(self._seen, int):
            raise ConfigError("there are no images to score")
        num = int(self._seen.sum())
        seen, right = self._seen.tolist(), self._right.tolist()
        hits = None if self._branch_of_class is None or self._usage is None else self._hits.tolist()
        usage = () if self._usage is None else tuple((self._usage / num).tolist())
        return Scores(
            top1=sum(right) / num,
            top5=self._top5 / num,
            num_images=num,
            mean_chosen=None if self._usage is None else int(self._usage.sum()) / num,
            gate_hit=None if hits is None else sum(hits) / num,
            usage=usage,
            classes=tuple(
                ClassScores(count, good / max(1, count), None if hit is None else hit / max(1, count))
                for count, good, hit in zip(seen, right, hits or [None] * len(seen), strict=True)
            ),
        )


def executed_macs(net: nn.Module, size_hw: tuple[int, int], *, mean_chosen: float | None = None) -> int:
    """The multiply-adds of one image; of a HydraNet with `num_chosen` branches, or with `mean_chosen` on average."""
    images = torch.zeros(1, 3, *size_hw, device=next(net.parameters()).device)
    if not isinstance(net, HydraNet):
        return count_macs(net, images)
    if mean_chosen is None or mean_chosen == net.num_chosen:
        return _macs_with(net, images, net.num_chosen)
    one, two = _macs_with(net, images, 1), _macs_with(net, images, 2)
    return round(one + (mean_chosen - 1) * (two - one))  # branches are alike


def _macs_with(net: HydraNet, images: Tensor, num_chosen: int) -> int:
    was_training = net.training
    net.eval()  # batch norm wants more than one image while training
    try:
        return count_macs(lambda x: net.forward_fixed(x, range(num_chosen)), images)
    finally:
        net.train(was_training)
