"""Any backbone into a HydraNet: its later stages become branches, which may begin as copies ("upcycling").

Copies are combined by their mean, so that the new network begins as exactly the old one, whatever the gate chooses.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2

from narrowcast.core.errors import ConfigError, did_you_mean
from narrowcast.hydra.combine import Combine, average
from narrowcast.hydra.families import MakeGate, class_gate, round_robin
from narrowcast.hydra.net import HydraNet

NUMBERED = ("features", "blocks", "stages", "layers")  # stages by number: "features.14", "blocks.5"
Stage = tuple[str, nn.Module]


def hydranet_from(
    backbone: nn.Module,
    *,
    branch_at: str,
    num_branches: int,
    num_chosen: int,
    rejoin_at: str = "",
    gate: MakeGate | None = None,
    num_classes: int | None = None,
    upcycle: bool = True,
    combine: Combine = average,
) -> HydraNet:
    """A HydraNet whose branches replace the stages of `backbone` from `branch_at` on, `rejoin_at` and later excepted.

    >>> from torchvision.models import resnet18
    >>> net = hydranet_from(resnet18(), branch_at="layer4", num_branches=8, num_chosen=1)
    >>> len(net.branches), len(net.stem)
    (8, 7)

    Args:
        backbone: a classifier of torchvision (ResNet, MobileNetV2, MobileNetV3, EfficientNet and others) or of timm
            whose stages run one after another. Its stem and head are used, not copied.
        branch_at: the first stage that is replaced: "layer4", "features.14", "blocks.5" (`stage_names` lists them).
        num_branches: n_b.
        num_chosen: k.
        rejoin_at: the first stage after the branches; by default the pooling.
        gate: made by a function of `narrowcast.hydra.families`; by default a `ClassGate`, classes dealt in turn. Its
            trunk is a linear layer on the stem's pooled features: unlike a copy of a branch, it costs next to nothing.
        num_classes: with another number than the backbone's, the last linear layer is a new one.
        upcycle: branches begin as copies; otherwise their weights are drawn anew.
        combine: how outputs are joined; sums of k copies would be k times as large as what the head knows.

    Raises:
        ConfigError: there is no such stage, or the backbone's parts do not run one after another.
    """
    stages = stages_of(backbone)
    first, last = _ends(stages, branch_at, rejoin_at)
    parts = [module for _, module in stages]
    replaced, head = nn.Sequential(*parts[first:last]), nn.Sequential(*parts[last:])
    stem = nn.Sequential(*parts[:first])
    head, num_classes = _with_classes(head, num_classes)
    channels = _channels(stem)

    def trunk(num_outputs: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_outputs))

    branches = [copy.deepcopy(replaced) for _ in range(num_branches)]
    if not upcycle:
        for branch in branches:
            branch.apply(_draw_anew)
    make_gate = gate or class_gate(round_robin(num_classes, num_branches), num_branches)
    return HydraNet(
        stem=stem, branches=branches, gate=make_gate(trunk), combiner=head, num_chosen=num_chosen, combine=combine
    )


def stage_names(backbone: nn.Module) -> list[str]:
    """The stages of `backbone`, in the order in which they run; each may be branched at or rejoined at."""
    return [name for name, _ in stages_of(backbone)]


def check_stages(backbone: nn.Module, branch_at: str, rejoin_at: str = "") -> None:
    """See that branches can replace the stages between these; works on the meta device, since nothing is run.

    Raises:
        ConfigError: there are no such stages.
    """
    _ends(_parts_of(backbone), branch_at, rejoin_at)


def stages_of(backbone: nn.Module) -> list[Stage]:
    """The modules that make up `backbone`, run one after another, with their names.

    Raises:
        ConfigError: run one after another they do not give what the backbone gives.
    """
    stages = _parts_of(backbone)
    _check_order(backbone, stages)
    return stages


def _parts_of(backbone: nn.Module) -> list[Stage]:
    stages: list[Stage] = []
    for name, child in backbone.named_children():
        if name in NUMBERED and isinstance(child, nn.Sequential):
            stages += [(f"{name}.{number}", stage) for number, stage in child.named_children()]
        else:
            stages.append((name, child))
    ends = {name: ix for ix, (name, _) in enumerate(stages) if name in ("fc", "classifier")}
    if isinstance(backbone, MobileNetV2):  # pools in its forward
        stages.insert(ends["classifier"], ("avgpool", nn.AdaptiveAvgPool2d(1)))
        ends["classifier"] += 1
    if type(backbone).__module__.startswith("torchvision") and ends:
        stages.insert(min(ends.values()), ("flatten", nn.Flatten()))
    return stages


def _ends(stages: Sequence[Stage], branch_at: str, rejoin_at: str) -> tuple[int, int]:
    names = [name for name, _ in stages]
    first = _find(branch_at, names, "branch_at")
    last = _find(rejoin_at, names, "rejoin_at") if rejoin_at else _first_pool(stages)
    if not 0 < first < last:
        raise ConfigError(f"branch_at = '{branch_at}': needs a stage before it and must come before '{names[last]}'")
    return first, last


@torch.no_grad()
def _check_order(backbone: nn.Module, stages: Sequence[Stage]) -> None:
    was_training = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    try:
        ours = theirs = images.to(next(backbone.parameters()).device)
        theirs = backbone(theirs)
        for _, module in stages:
            ours = module(ours)
        is_same = isinstance(theirs, Tensor) and torch.allclose(ours, theirs, atol=1e-4, rtol=1e-3)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        is_same = False
    finally:
        for module, training in was_training:
            module.training = training
    if not is_same:
        raise ConfigError(
            f"{type(backbone).__name__}: its parts ({', '.join(name for name, _ in stages[:6])}, …) do not run one"
            " after another, so that it has no stages to branch at; build a HydraNet of its parts by hand"
        )


def _find(name: str, names: Sequence[str], option: str) -> int:
    if name not in names:
        raise ConfigError(
            f"{option} = '{name}': the backbone has no such stage{did_you_mean(name, names)}; it has {', '.join(names)}"
        )
    return names.index(name)


def _first_pool(stages: Sequence[Stage]) -> int:
    for ix, (name, module) in enumerate(stages):
        if name in ("avgpool", "global_pool", "head", "flatten") or isinstance(module, nn.AdaptiveAvgPool2d):
            return ix
    raise ConfigError("cannot tell where the backbone's features end; name the first stage of its head as rejoin_at")


def _with_classes(head: nn.Module, num_classes: int | None) -> tuple[Any, int]:
    """The head with so many outputs; its last linear layer is replaced where that is another number."""
    linear = [(name, module) for name, module in head.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError("the backbone's head has no linear layer to read the number of classes from")
    name, last = linear[-1]
    if num_classes is None or num_classes == last.out_features:
        return head, last.out_features
    parent = head.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Linear(last.in_features, num_classes))
    return head, num_classes


@torch.no_grad()
def _channels(stem: nn.Module) -> int:
    was_training = [(module, module.training) for module in stem.modules()]
    stem.eval()
    channels = stem(torch.zeros(1, 3, 64, 64, device=next(stem.parameters()).device)).shape[1]
    for module, training in was_training:
        module.training = training
    return channels


def _draw_anew(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
