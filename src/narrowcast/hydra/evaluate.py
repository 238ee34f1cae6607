"""How good a classifier is, and what it executed: top-1, top-5, the gate's choices."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.net import HydraNet, HydraOutput
from narrowcast.metrics.cost import count_macs


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of one pass over labelled images.

    Attributes:
        top1, top5: share of images whose class is the best, or among the five best.
        num_images: in all.
        mean_chosen: branches an image, on average; None for a static network.
        gate_hit: share of images for which the branch of their class ran; None where classes have no branches.
        usage: share of the images that each branch ran for; empty for a static network.
    """

    top1: float
    top5: float
    num_images: int
    mean_chosen: float | None = None
    gate_hit: float | None = None
    usage: tuple[float, ...] = ()


def logits_of(net: nn.Module, images: Tensor) -> Float[Tensor, "n classes"]:
    """What `net` says of the images, whether it is a HydraNet or a static network."""
    output = net(images)
    return output.logits if isinstance(output, HydraOutput) else output


@torch.inference_mode()
def evaluate(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, branch_of_class: Tensor | None = None
) -> Scores:
    """Score `net` on (images, labels), images normalised.

    Raises:
        ConfigError: there are no images.
    """
    net.eval()
    device = next(net.parameters()).device
    top1 = top5 = num = hits = chosen = 0
    usage: Any = 0
    for images, labels in batches:
        output, labels = net(images.to(device)), labels.to(device)
        logits = output.logits if isinstance(output, HydraOutput) else output
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        top1, top5, num = top1 + int(best[:, 0].sum()), top5 + int(best.sum()), num + len(labels)
        if isinstance(output, HydraOutput) and isinstance(net, HydraNet):
            ran = output.routes.is_chosen(len(net.branches))
            usage, chosen = usage + ran.sum(0), chosen + int(ran.sum())
            if branch_of_class is not None:
                hits += int(ran.gather(1, branch_of_class.to(device)[labels][:, None]).sum())
    if not num:
        raise ConfigError("there are no images to score")
    scores = Scores(top1=top1 / num, top5=top5 / num, num_images=num)
    if not isinstance(net, HydraNet):
        return scores
    return Scores(
        top1=scores.top1,
        top5=scores.top5,
        num_images=num,
        mean_chosen=chosen / num,
        gate_hit=None if branch_of_class is None else hits / num,
        usage=tuple((usage / num).tolist()),
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
