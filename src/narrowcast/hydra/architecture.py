"""Classifiers by name: the thesis's static and branched networks, and torchvision's with branches; and their files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision import models

from narrowcast.core import checkpoint
from narrowcast.core.config import from_dict, to_dict
from narrowcast.core.errors import ConfigError, WeightsError, did_you_mean
from narrowcast.hydra.combine import Combine, add, average, concatenate
from narrowcast.hydra.families import (
    MakeGate,
    branch_gate,
    class_gate,
    hydra_dense,
    hydra_res,
    hydra_ressep,
    learned_gate,
    no_gate,
    round_robin,
)
from narrowcast.hydra.net import HydraNet
from narrowcast.hydra.upcycle import check_stages, hydranet_from
from narrowcast.hydra.warm_start import warm_start
from narrowcast.hydra.zoo import RESSEP
from narrowcast.models.cifar_resnet import CifarResNet
from narrowcast.models.densenet import DenseNet
from narrowcast.models.ressep import ResSep

COMBINES: dict[str, Combine] = {"add": add, "average": average, "concatenate": concatenate}
STATIC_RESSEP = {"a": (2, 0.5), "b": (3, 0.5), "c": (2, 0.75), "d": (3, 0.75), "e": (3, 1.0)}  # d, w of table 3.1
HYDRA_RES, HYDRA_DENSE = (1, 2, 3, 4, 5, 6, 7, 9), (2, 3, 4, 6)
RESNETS, DENSENETS = (14, 20, 26, 32, 56, 110, 164), (3, 4, 6, 8, 10, 12, 14)
NAMES = (
    *(f"hydra-ressep-{letter}" for letter in STATIC_RESSEP),
    *(f"hydra-res-d{depth}" for depth in HYDRA_RES),
    *(f"hydra-dense-d{depth}" for depth in HYDRA_DENSE),
    *(f"ressep-{letter}" for letter in STATIC_RESSEP),
    *(f"resnet-{num}" for num in RESNETS),
    *(f"densenet-d{depth}" for depth in DENSENETS),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetConfig:
    """The [net] section: which network, and for a HydraNet how it branches; table 3.2."""

    arch: str = "hydra-res-d1"
    num_branches: int | None = None  # the thesis's for this network: 50 for ResSep, else 20
    num_chosen: int | None = None  # the thesis's: 5 for ResSep, else 4
    gate: Literal["classes", "branches", "learned", "none"] = "classes"  # the thesis's, by its counts
    balance: float = 0.0  # of the learned gate: λ_bal
    bias_rate: float = 0.0  # of the learned gate: balancing without a loss
    combine: Literal["add", "average", "concatenate"] | None = None  # add; average where branches begin as copies
    branch_after: int | None = None  # the thesis's last stage of the stem
    branch_at: str = ""  # of a torchvision network: the stage from which branches replace it; "" leaves it static
    rejoin_at: str = ""
    upcycle: bool = True
    weights: str = ""  # what the network, or the backbone that becomes one, begins with; "" is random

    def __post_init__(self) -> None:
        if self.gate != "learned" and (self.balance or self.bias_rate):
            raise ConfigError(f"[net] balance and bias_rate have no effect on gate = '{self.gate}'; remove them")
        if self.arch in NAMES and (self.branch_at or self.rejoin_at):
            raise ConfigError(
                f"[net] branch_at has no effect on arch = '{self.arch}'; it is for torchvision's networks"
            )
        for name in ("num_branches", "num_chosen"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"[net] {name} = {value}: must be at least 1")

    @property
    def is_hydra(self) -> bool:
        """Whether the network has branches."""
        return self.arch.startswith("hydra-") or bool(self.branch_at)

    def branches(self) -> int:
        """n_b."""
        return self.num_branches or (50 if self.arch.startswith("hydra-ressep") else 20)

    def chosen(self) -> int:
        """k."""
        return self.num_chosen or (5 if self.arch.startswith("hydra-ressep") else 1 if self.branch_at else 4)


def check(config: NetConfig) -> None:
    """What can be said of `config` before there is any data; nothing large is built.

    Raises:
        ConfigError: no such network, or a setting that does not fit it.
    """
    name = config.arch
    if config.is_hydra and config.chosen() > config.branches():
        raise ConfigError(f"[net] num_chosen = {config.chosen()}: there are only {config.branches()} branches")
    if name in NAMES:
        return
    known = models.list_models(module=models)
    if name not in known:
        hint = did_you_mean(name, [*NAMES, *known])
        raise ConfigError(f"--arch {name}: no such network{hint}; it is one of `narrowcast zoo` or of torchvision")
    if config.branch_at:
        with torch.device("meta"):
            check_stages(models.get_model(name, weights=None), config.branch_at, config.rejoin_at)


def build(
    config: NetConfig,
    num_classes: int,
    *,
    branch_of_class: Sequence[int] = (),
    weights: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """The network of `config`.

    Args:
        config: what to build; its `weights` are not read here.
        num_classes: outputs.
        branch_of_class: the partition, for gates that are supervised by one; dealt in turn where it is empty.
        weights: of `read_weights`, to begin with: the network's, or with `branch_at` those of the backbone before parts
            of it become branches. Linear layers that do not fit (other classes) begin afresh.

    Raises:
        ConfigError: no such network, or a setting that does not fit it.
        WeightsError: `weights` are of another network.
    """
    check(config)
    if config.branch_at:
        backbone = models.get_model(config.arch, weights=None, num_classes=num_classes)
        return _upcycled(_begun(backbone, config, weights), config, _gate(config, num_classes, branch_of_class))
    return _begun(_named(config, num_classes, branch_of_class), config, weights)


def _begun(net: nn.Module, config: NetConfig, weights: Mapping[str, Tensor] | None) -> nn.Module:
    if weights is not None:
        warm_start(net, weights, source=f"--weights {config.weights}")
    return net


def _named(config: NetConfig, num_classes: int, branch_of_class: Sequence[int]) -> nn.Module:
    name = config.arch
    if config.is_hydra:
        return _hydra(config, num_classes, _gate(config, num_classes, branch_of_class))
    if name in NAMES:
        family, _, variant = name.rpartition("-")
        if family == "ressep":
            depth, width = STATIC_RESSEP[variant]
            return ResSep(num_classes, depth=depth, width=width)
        if family == "resnet":
            return CifarResNet(int(variant), num_classes)
        return DenseNet(int(variant[1:]), num_classes)
    return models.get_model(name, weights=None, num_classes=num_classes)


def _options(config: NetConfig, gate: MakeGate) -> dict[str, Any]:
    combine = COMBINES[config.combine or ("average" if config.branch_at else "add")]
    return {"num_branches": config.branches(), "num_chosen": config.chosen(), "gate": gate, "combine": combine}


def _upcycled(backbone: nn.Module, config: NetConfig, gate: MakeGate) -> HydraNet:
    where = {"branch_at": config.branch_at, "rejoin_at": config.rejoin_at, "upcycle": config.upcycle}
    return hydranet_from(backbone, **where, **_options(config, gate))


def _hydra(config: NetConfig, num_classes: int, gate: MakeGate) -> HydraNet:
    options = _options(config, gate)
    family, _, variant = config.arch.rpartition("-")
    if config.branch_after is not None:
        if family == "hydra-dense":
            raise ConfigError("[net] branch_after has no effect on Hydra-Dense; remove it")
        options["branch_after"] = config.branch_after
    if family == "hydra-ressep":
        depth, stem_width, gate_width = RESSEP[variant.upper()]
        return hydra_ressep(num_classes, depth=depth, stem_width=stem_width, gate_width=gate_width, **options)
    make = hydra_res if family == "hydra-res" else hydra_dense
    return make(int(variant[1:]), num_classes, **options)


def _gate(config: NetConfig, num_classes: int, branch_of_class: Sequence[int]) -> MakeGate:
    num = config.branches()
    if config.gate == "learned":
        return learned_gate(num, balance=config.balance, bias_rate=config.bias_rate)
    if config.gate == "none":
        return no_gate(num)
    partition = branch_of_class or round_robin(num_classes, num)
    return class_gate(partition, num) if config.gate == "classes" else branch_gate(partition, num)


def save_classifier(
    path: Path, net: nn.Module, config: NetConfig, *, classes: Sequence[str], size: int, branch_of_class: Sequence[int]
) -> None:
    """Write weights with all that `load_classifier` needs."""
    meta = {
        "net": to_dict(config),
        "classes": list(classes),
        "size": size,
        "branch_of_class": list(branch_of_class),
    }
    checkpoint.save(path, net.state_dict(), meta=meta)


def load_classifier(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of `path`, in eval mode, with `classes`, `size`, `branch_of_class` and `net` (its configuration).

    Raises:
        WeightsError: missing, damaged, or weights of another architecture.
    """
    tensors, meta = checkpoint.load(path)
    try:
        config = from_dict(NetConfig, meta["net"], where=str(path))
        net = build(config, len(meta["classes"]), branch_of_class=meta["branch_of_class"])
    except (KeyError, TypeError, ConfigError) as error:
        raise WeightsError(f"{path}: is not a classifier that narrowcast hydra trained ({error})") from error
    checkpoint.load_into(net, tensors, source=str(path))
    return net.eval(), meta | {"net": config}


def branches_of(meta: dict[str, Any]) -> torch.Tensor | None:
    """The branch of each class as a tensor; None where classes have none."""
    return torch.tensor(meta["branch_of_class"]) if meta["branch_of_class"] else None
