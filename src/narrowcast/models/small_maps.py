"""The last blocks of EfficientNet-Lite0 on maps of a few places, as matrix products: the same function, faster on CPUs.

On 4 × 4 places a depthwise convolution is, for each channel, a 16 × 16 matrix; with channels first all of a block is
three products without a copy in between. Norms are folded into the products with their statistics frozen. Both make a
step of training several times as fast where the processor multiplies bfloat16 (docs/bgsplit.md).
"""

from collections.abc import Sequence
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.models.efficientnet_lite import MBConv

MOST_PLACES = 4  # a side; beyond it the matrices grow faster than they save


@torch.inference_mode()
def fits_small_maps(lower: nn.Module, upper: Sequence[nn.Module], size_hw: tuple[int, int]) -> bool:
    """Whether `SmallMapTrunk(upper)` can take what `lower` makes of images of that size."""
    *blocks, last = upper
    if not all(isinstance(block, MBConv) and _is_plain(block) for block in blocks):
        return False
    if not (isinstance(last, nn.Sequential) and isinstance(last[0], nn.Conv2d) and last[0].kernel_size == (1, 1)):
        return False
    maps = lower(torch.zeros(1, 3, *size_hw, device=next(lower.parameters()).device))
    return maps.ndim == 4 and max(maps.shape[2:]) <= MOST_PLACES


def _is_plain(block: MBConv) -> bool:
    """Expansion, depthwise convolution of stride 1, projection."""
    layers = list(block.layers)
    return len(layers) == 8 and cast(nn.Conv2d, layers[3]).stride == (1, 1)


@final
class SmallMapTrunk(nn.Module):
    """Maps (b, c, h, w) to features (b, d): blocks of stride 1, a 1×1 convolution and the mean over places."""

    def __init__(self, upper: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(upper)
        self._taps: dict[tuple[int, int, int], Tensor] = {}

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        num, channels, height, width = maps.shape
        dtype = _dtype(maps.device)
        with torch.autocast(maps.device.type, enabled=False):  # the cast is made once, here
            x = maps.transpose(0, 1).reshape(channels, -1).to(dtype)
            for block in self.parts[:-1]:
                x = self._block(cast(MBConv, block), x, num, (height, width))
            last = cast(Any, self.parts[-1])
            x = F.hardtanh(_product(last[0], last[1], x), 0, 6)
            return x.view(len(x), num, height * width).float().mean(2).T

    def _block(self, block: MBConv, x: Tensor, num: int, size_hw: tuple[int, int]) -> Tensor:
        layers = cast(Any, block.layers)
        places = size_hw[0] * size_hw[1]
        y = F.hardtanh(_product(layers[0], layers[1], x), 0, 6)
        weight, bias = _folded(layers[3], layers[4], x.dtype)
        matrices = self._matrices(weight, layers[3].kernel_size[0], size_hw)
        y = torch.baddbmm(bias[:, :, None], y.view(-1, num, places), matrices)
        y = _product(layers[6], layers[7], F.hardtanh(y, 0, 6).view(-1, num * places))
        return x + y if block.is_residual else y

    def _matrices(self, weight: Tensor, kernel: int, size_hw: tuple[int, int]) -> Tensor:
        """(c, places in, places out): what a depthwise kernel (c, k²) does to a whole map."""
        key = (kernel, *size_hw)
        if key not in self._taps or self._taps[key].device != weight.device:
            self._taps[key] = _taps(kernel, size_hw).to(weight.device)
        places = size_hw[0] * size_hw[1]
        return (weight @ self._taps[key].to(weight.dtype)).view(-1, places, places)


def _dtype(device: torch.device) -> torch.dtype:
    """The precision of the products: that of autocast where it is on."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


def _product(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    weight, bias = _folded(conv, norm, x.dtype)
    return torch.addmm(bias, weight, x)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights (out, in · k²) and bias (out, 1) of a convolution and its norm."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight, bias = conv.weight.flatten(1) * gain[:, None], norm.bias - gain * norm.running_mean
    return weight.to(dtype), bias[:, None].to(dtype)


def _taps(kernel: int, size_hw: tuple[int, int]) -> Tensor:
    """(kernel², places in × places out): 1 where that tap of the kernel lies between the two places."""
    height, width = size_hw
    rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    down, right = (rows[:, None] - rows + kernel // 2), (columns[:, None] - columns + kernel // 2)
    inside = (down >= 0) & (down < kernel) & (right >= 0) & (right < kernel)
    taps = torch.where(inside, down * kernel + right, kernel**2).flatten()
    return F.one_hot(taps, kernel**2 + 1)[:, :-1].T.float()
