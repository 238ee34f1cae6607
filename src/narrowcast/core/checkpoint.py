"""Weights and optimiser states on disk: safetensors with JSON beside the tensors, never pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from narrowcast.core.errors import WeightsError
from narrowcast.core.files import replacing

META_KEY = "narrowcast"


def save(path: Path, tensors: Mapping[str, Tensor], *, meta: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON-serialisable `meta` to one file, whole or not at all.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    # clone: safetensors refuses tensors that share memory, which a state dict may hold
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, metadata={META_KEY: json.dumps(meta)})
            temporary.chmod(0o644)  # safetensors makes files that only their owner reads
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the `meta` of a file that `save` wrote.

    Raises:
        WeightsError: the file is missing, damaged or was not written by narrowcast.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged or not a safetensors file ({error})") from error
    if META_KEY not in header:
        raise WeightsError(f"{path}: safetensors, but not written by narrowcast (its header has no '{META_KEY}')")
    try:
        return tensors, json.loads(header[META_KEY])
    except ValueError as error:
        raise WeightsError(f"{path}: damaged: its header cannot be read ({error})") from error


def load_into(module: torch.nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy `tensors` into `module`, all of them and to the letter.

    Raises:
        WeightsError: a name or a shape does not fit; `source` names the file in the message.
    """
    own = module.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise WeightsError(f"{source}: does not fit the network: missing {missing[:3]}, unexpected {extra[:3]}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise WeightsError(
                f"{source}: '{name}' is {tuple(tensors[name].shape)}, the network needs {tuple(tensor.shape)}"
            )
    module.load_state_dict({name: tensors[name].to(own[name].dtype) for name in own})


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state (momenta, step counts) as named tensors; learning rates are the caller's to set."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Bring back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
