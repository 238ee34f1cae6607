"""A backbone beside what became of its last parts by training, with the weights in a file beside the pool.

Features are both halves, each of length 1: the published network's and the trained one's. Both were better than the
trained half alone wherever it was measured (docs/mine-results.md), and what the backbone knew is not lost. The first
parts, which did not train, run once.
"""

import copy
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core import checkpoint
from narrowcast.core.errors import UsageError, WeightsError
from narrowcast.models.torch_backbone import TorchBackbone, Trunk
from narrowcast.models.trunk_parts import cut

KIND = "narrowcast-trained-parts"


@final
class JoinedTrunk(Trunk):
    """Images in [0, 1] to the features of a trunk and of a trained copy of its last parts."""

    def __init__(self, base: Trunk, *, trained_parts: int) -> None:
        super().__init__(base.network, base.preprocessing)
        self.lower, self.old = cut(base, trained_parts=trained_parts, size_hw=base.preprocessing.size_hw)
        self.new = copy.deepcopy(self.old)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b dim2"]:
        maps = self.lower(images)
        return torch.cat([F.normalize(self.old(maps), dim=1), F.normalize(self.new(maps), dim=1)], 1)


def save_trained(path: Path, upper: nn.Module, *, base: TorchBackbone, trained_parts: int) -> None:
    """Write the trained last parts of `base`.

    Raises:
        StorageError: the file cannot be written.
    """
    meta = {"kind": KIND, "base": base.key, "trained_parts": trained_parts}
    checkpoint.save(path, upper.state_dict(), meta=meta)


def load_trained(base: object, path: Path) -> TorchBackbone:
    """`base` beside the trained parts of a file that `save_trained` wrote.

    Raises:
        UsageError: the base is no network in torch.
        WeightsError: the file is missing, damaged, or was trained from other weights.
    """
    if not isinstance(base, TorchBackbone):
        raise UsageError(f"{path}: weights for a network in torch, which the backbone before the + is not")
    tensors, meta = checkpoint.load(path)
    if meta.get("kind") != KIND or meta.get("base") != base.key:
        raise WeightsError(f"{path}: was trained from '{meta.get('base')}', not from '{base.key}'")
    trunk = JoinedTrunk(base.net, trained_parts=meta["trained_parts"])
    checkpoint.load_into(trunk.new, tensors, source=str(path))
    joined = TorchBackbone(base.name, trunk, device=base.device)  # its key is of the weights: the file may be moved
    joined.name = f"{base.name}+{path}"
    return joined
