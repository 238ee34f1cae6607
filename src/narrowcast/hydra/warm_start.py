"""Training that begins with weights that are there: a file's, an earlier run's, or torchvision's published ones."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights

from narrowcast.core.errors import UsageError, WeightsError
from narrowcast.models.hub_weights import find_weights

PUBLISHED = "published"
RUN_FILE = "net.safetensors"  # of a run folder
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")  # keys under which training scripts keep the weights
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What `warm_start` did: how many tensors it copied, and the layers that it left as they were drawn."""

    num_copied: int
    fresh: tuple[str, ...]


def read_weights(source: str, *, arch: str = "") -> dict[str, Tensor]:
    """Named tensors.

    Args:
        source: a `.safetensors` file, a file of torch (a state dict, or one under the usual keys; no code in it is
            run), a run folder of `narrowcast hydra train`, or "published": what torchvision publishes for `arch`, where
            torch.hub keeps it on this machine (nothing is downloaded).
        arch: only for "published".

    Raises:
        WeightsError: missing, damaged, or more than tensors.
    """
    if source == PUBLISHED:
        try:
            published: Any = get_model_weights(arch)
        except ValueError:
            raise UsageError(f"--weights {PUBLISHED}: torchvision publishes no weights for '{arch}'") from None
        path = find_weights(published.DEFAULT.url, offline="--weights FILE")
    else:
        path = Path(source)
    if path.is_dir():
        path /= RUN_FILE
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path}: damaged, or not a file of tensors only ({reason})") from error
    return _named_tensors(found, path)


def warm_start(net: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> WarmStart:
    """Copy `tensors` into `net`. Linear layers that do not fit, as those of other classes, keep their fresh weights.

    Everything else must be there in its shape; tensors that `net` has no place for are passed over. Layers that have
    other names in the file are taken in their order, if each of their tensors has the shape and the last name
    ("weight", "running_mean") of the network's.

    Raises:
        WeightsError: a layer other than a linear one is missing or has another shape, or nothing fits.
    """
    own = _learned(net)
    linear = tuple(name for name, module in net.named_modules() if isinstance(module, nn.Linear))
    tensors = _in_order(own, tensors, linear) or tensors
    fits = {name for name, tensor in own.items() if name in tensors and tensors[name].shape == tensor.shape}
    lacking = [name for name in own if name not in fits]
    fresh = sorted({name.rpartition(".")[0] for name in lacking} & set(linear))
    wrong = [name for name in lacking if name.rpartition(".")[0] not in fresh]
    if wrong or not fits:
        raise WeightsError(f"{source}: {_why(wrong[0] if wrong else lacking[0], own, tensors)}; are these its weights?")
    copied = {name: tensors[name] for name in fits if name.rpartition(".")[0] not in fresh}
    with torch.no_grad():
        for name, tensor in copied.items():
            own[name].copy_(tensor)
    return WarmStart(len(copied), tuple(fresh))


def _learned(net: nn.Module) -> dict[str, Tensor]:
    """Parameters, and the statistics of norms; not other buffers, such as a gate's partition."""
    norms = [name for name, module in net.named_modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    learned = {name for name, _ in net.named_parameters()}
    learned |= {f"{name}.{buffer}" for name in norms for buffer in ("running_mean", "running_var")}
    return {name: tensor for name, tensor in net.state_dict().items() if name in learned}


def _in_order(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], linear: Sequence[str]
) -> dict[str, Tensor] | None:
    """The file's tensors under the network's names, where these are others and all shapes fit one after another."""
    wanted = [name for name in own if name.rpartition(".")[0] not in linear]
    given = [name for name in tensors if not name.endswith("num_batches_tracked")][: len(wanted)]
    if len(given) < len(wanted) or all(name in tensors for name in wanted):
        return None
    for ours, theirs in zip(wanted, given, strict=True):
        if own[ours].shape != tensors[theirs].shape or ours.rpartition(".")[2] != theirs.rpartition(".")[2]:
            return None
    return {ours: tensors[theirs] for ours, theirs in zip(wanted, given, strict=True)}


def _named_tensors(found: Any, path: Path) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise WeightsError(f"{path}: expected a state dict, names with tensors")
    tensors = dict(found)
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _why(name: str, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    if name not in tensors:
        return f"has no '{name}', which the network needs"
    return f"'{name}' is {tuple(tensors[name].shape)}, the network needs {tuple(own[name].shape)}"
