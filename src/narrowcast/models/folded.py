"""A copy of a network for prediction only: batch norms folded into the convolutions before them, ReLUs done by them.

The same function up to rounding, in half of the time at 720p (benchmarks/jitnet.py). A network that is still being
trained keeps its own layers; the copy is refreshed from them, which takes a millisecond or two.
"""

import copy
from collections import OrderedDict
from typing import Generic, TypeVar, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from narrowcast.models.jitnet import Block

Net = TypeVar("Net", bound=nn.Module)
# oneDNN's convolution with a ReLU inside, as torch's own compiler uses it; torch has no public name for it
_FUSED = getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if torch.backends.mkldnn.is_available() else None
_CLAMPS = {nn.ReLU: (0.0, None), nn.ReLU6: (0.0, 6.0)}


@final
class Folded(Generic[Net]):
    """`net`, a copy of `source` that computes the same in evaluation mode and in `dtype`; `source` is left alone."""

    def __init__(self, source: Net, *, dtype: torch.dtype) -> None:
        with torch.inference_mode(False):  # or the copy's tensors could not be refreshed
            self.net = cast(Net, _mirrored(source, dtype)).eval()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over what the source has learned since."""
        for module in self.net.modules():
            if isinstance(module, FoldedConv):
                module.refresh()


@final
class FoldedConv(nn.Module):
    """A convolution, the batch norm after it and the ReLU after that, as one convolution."""

    def __init__(
        self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, activation: nn.Module | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self._sources = (conv, norm)  # a tuple, so that they do not become part of this module
        self._clamp = None if activation is None else _CLAMPS[type(activation)]
        # a kind of its own, such as one that pads differently, is called as it is
        self._is_fused = type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
        self.conv = copy.deepcopy(conv).requires_grad_(False)
        if norm is not None and self.conv.bias is None:
            self.conv.bias = nn.Parameter(self.conv.weight.new_zeros(conv.out_channels), requires_grad=False)
        self.conv.to(dtype)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold again: in the precision of the sources, rounded once."""
        weight, bias = _folded(*self._sources)
        self.conv.weight.copy_(weight)
        if self.conv.bias is not None:
            assert bias is not None
            self.conv.bias.copy_(bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        conv = self.conv
        x = x.to(conv.weight.dtype)
        if _FUSED is None or not self._is_fused or x.device.type != "cpu":
            x = conv(x)
            return x if self._clamp is None else x.clamp_(*self._clamp)
        geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)  # type: ignore[arg-type]
        if self._clamp is None:
            return _FUSED(x, conv.weight, conv.bias, *geometry, "none", [], "")
        low, high = self._clamp
        how = ("relu", [], "") if high is None else ("hardtanh", [low, high], "")
        return _FUSED(x, conv.weight, conv.bias, *geometry, *how)


@final
class FoldedBlock(nn.Module):
    """JITNet's block."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        super().__init__()
        self.stride = block.stride
        self.norm = FoldedConv(_unit_conv(block.norm), block.norm, nn.ReLU(), dtype)
        self.conv3x3 = FoldedConv(block.conv3x3, block.norm3x3, nn.ReLU(), dtype)
        self.conv1x3 = FoldedConv(block.conv1x3, None, None, dtype)
        self.conv3x1 = FoldedConv(block.conv3x1, None, None, dtype)
        self.project = None if block.project is None else FoldedConv(block.project, None, None, dtype)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        activated = self.norm(x)
        residual = self.conv3x1(self.conv1x3(self.conv3x3(activated)))
        shortcut = x[..., :: self.stride, :: self.stride] if self.project is None else self.project(activated)
        return residual.add_(shortcut)


def _mirrored(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A module of the same structure over folded layers; layers without weights are shared."""
    if isinstance(module, Block):
        return FoldedBlock(module, dtype)
    if isinstance(module, nn.Conv2d):
        return FoldedConv(module, None, None, dtype)
    if isinstance(module, nn.BatchNorm2d):
        return FoldedConv(_unit_conv(module), module, None, dtype)
    if isinstance(module, nn.Sequential):
        return nn.Sequential(OrderedDict(_in_a_row(module, dtype)))
    twin = copy.copy(module)
    twin._modules = {name: child and _mirrored(child, dtype) for name, child in module._modules.items()}
    return twin


def _in_a_row(row: nn.Sequential, dtype: torch.dtype) -> dict[str, nn.Module]:
    """The layers of a sequence; what a convolution swallowed has become an identity, so that places stay."""
    layers, twins = list(row.children()), {}
    names = iter(row._modules)
    while layers:
        conv = layers.pop(0)
        if not isinstance(conv, nn.Conv2d):
            twins[next(names)] = _mirrored(conv, dtype)
            continue
        following = layers[0] if layers else None
        norm = following if isinstance(following, nn.BatchNorm2d) else None
        layers = layers[norm is not None :]
        activation = layers[0] if layers and type(layers[0]) in _CLAMPS else None
        layers = layers[activation is not None :]
        twins[next(names)] = FoldedConv(conv, norm, activation, dtype)
        twins |= {next(names): nn.Identity() for swallowed in (norm, activation) if swallowed is not None}
    return twins


def _unit_conv(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that changes nothing: with a norm folded into it, the fastest norm and ReLU there is."""
    channels = norm.num_features
    conv = nn.Conv2d(channels, channels, 1, groups=channels, bias=False, device=norm.weight.device)
    nn.init.ones_(conv.weight)
    return conv


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    if norm is None:
        return conv.weight, conv.bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
