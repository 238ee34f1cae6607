"""A network's forward pass at one image size as a CUDA graph: launched by one call instead of one for every layer.

A student's layers take the GPU less time than the CPU needs to launch them. A graph reads weights where they lie, so it
follows a `Folded` copy that is refreshed in place.
"""

from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

WARM_UPS = 3  # PyTorch's advice: libraries choose their algorithms and workspaces before the capture


@final
class Captured:
    """`net.coarse_logits` for one image of `size_hw` on a CUDA device, in `dtype`."""

    def __init__(self, net: nn.Module, size_hw: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> None:
        """Warm up and capture.

        Raises:
            RuntimeError: the network does something that a graph cannot hold.
        """
        self.size_hw = size_hw
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            self._pixels = torch.zeros(1, 3, *size_hw, dtype=dtype, device=device).to(memory_format=torch.channels_last)
            aside = torch.cuda.Stream(device)
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    self._forward(net, dtype)
            torch.cuda.current_stream(device).wait_stream(aside)
            # other threads may learn and decode meanwhile
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._coarse = self._forward(net, dtype)

    def _forward(self, net: nn.Module, dtype: torch.dtype) -> Tensor:
        # a cache of casts that was filled before the capture would not be part of it
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32, cache_enabled=False):
            return net.coarse_logits(self._pixels)  # type: ignore[operator]

    def __call__(self, image_rgb: UInt8[Tensor, "1 3 h w"]) -> Float[Tensor, "1 k h2 w2"]:
        """The coarse logits of an 8-bit image on the device; they are overwritten by the next call."""
        self._pixels.copy_(image_rgb).mul_(1 / 255)
        self._graph.replay()
        return self._coarse
