"""Published weights that lie on this machine already: nothing is ever downloaded at run time."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from narrowcast.core.errors import WeightsError

OFFLINE = "embedded, a TOML card, a folder of masks or module:function"


def find_weights(url: str, *, offline: str = f"a teacher that works offline: {OFFLINE}") -> Path:
    """Where torch.hub keeps the file that `url` names.

    Raises:
        WeightsError: it is not there; the message says from where to get it and what works `offline`.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise WeightsError(
            f"{path.name}: no such file in {path.parent}; download {url} to that folder (TORCH_HOME moves it),"
            f" or use {offline}"
        )
    return path


def load_weights(network: nn.Module, path: Path) -> None:
    """Copy the state dict in `path` into `network`; never runs code from the file.

    Raises:
        WeightsError: the file is missing, damaged, holds more than tensors or does not fit the network.
    """
    network_name = type(network).__name__
    state = _read(path)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise WeightsError(f"{path}: does not fit {network_name}: {' '.join(lines)[:200]}") from error


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path}: damaged, or not a file of tensors only ({reason})") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path}: expected a state dict, names with tensors")
    return state
