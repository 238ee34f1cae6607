"""A HydraNet for one image as ONNX: the gate, and the chosen branches with gathered weights, in one static graph."""

import logging
import warnings
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core.errors import DependencyError, UsageError, WeightsError
from narrowcast.core.files import replacing
from narrowcast.data.image_tensors import MEAN, STD
from narrowcast.hydra.combine import average as mean_of
from narrowcast.hydra.combine import concatenate
from narrowcast.hydra.net import HydraNet
from narrowcast.hydra.rows import UntraceableBranchError, row_branch, trace

TOLERANCE = 1e-3  # of logits, between PyTorch and onnxruntime


@final
class SingleImage(nn.Module):
    """The same function for a batch of one, with nothing that depends on values but the gather of weights.

    Takes RGB in [0, 1]; the normalisation is inside.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.mean: Tensor
        self.std: Tensor
        if isinstance(net, HydraNet):
            branches = list(net.branches)
            try:
                with torch.no_grad():
                    self.rows_module, self.rows = row_branch(trace(branches), branches, folded=True)
            except UntraceableBranchError as error:
                raise UsageError(f"this network cannot be exported: a branch {error}") from error

    def forward(self, images: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 classes"]:
        net, images = self.net, (images - self.mean) / self.std
        if not isinstance(net, HydraNet):
            return net(images)
        features = net.stem(images)
        scores = net.gate.scores(net.gate(features))
        best = net.gate.wanted(scores).topk(net.num_chosen, dim=1).indices[0]
        self.rows.branch_ix = best
        rows = self.rows_module(features.expand(net.num_chosen, *features.shape[1:]))
        weight = scores[0].index_select(0, best) if net.gate.is_weighting else torch.ones_like(scores[0, :1])
        rows = rows * weight.view(-1, *(1,) * (rows.ndim - 1))
        if net.combine is concatenate:
            return net.combiner(rows.flatten(0, 1)[None])
        total = rows.sum(0, keepdim=True)
        if net.combine is mean_of:
            total = total / weight.expand(net.num_chosen).sum()
        return net.combiner(total)


def export_onnx(net: nn.Module, path: Path, *, size: int) -> float:
    """Write `net` as ONNX for images (1, 3, size, size) in [0, 1], and check it in onnxruntime.

    Returns:
        The largest difference of a logit between PyTorch and onnxruntime over a few random images.

    Raises:
        DependencyError: onnxruntime or onnxscript is missing.
        WeightsError: what was written does not give what PyTorch gives; the file is not kept.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter wants it
    except ImportError as error:
        raise DependencyError(f"{error.name} is not installed; pip install 'narrowcast[export]'") from error
    single = SingleImage(net.cpu()).eval()
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    with replacing(path) as temporary:
        _write(single, images[:1], temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        with torch.inference_mode():
            differences = [
                float(np.abs(np.asarray(session.run(None, {"images": one.numpy()})[0]) - single(one).numpy()).max())
                for one in images.split(1)
            ]
        if not max(differences) < TOLERANCE:
            raise WeightsError(f"{path}: onnxruntime differs from PyTorch by {max(differences):.2g}; not written")
    return max(differences)


def _write(single: SingleImage, image: Tensor, path: Path) -> None:
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            program: Any = torch.export.export(single, (image,), strict=False)
            onnx: Any = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["images"], output_names=["logits"]
            )
            onnx.save(path)
    finally:
        quiet.setLevel(level)
