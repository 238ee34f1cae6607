"""What a network costs: multiply-adds, parameters and time.

MACs are multiply-adds of convolutions and matrix products, counted from shapes by torch's FlopCounterMode; its FLOPs
are 2 × MACs, and so are the "FLOPS" of tables 2.1 and 2.4 (recounted). Resizes, norms and activations count nothing.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from narrowcast.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of repeated calls, in milliseconds."""

    median_ms: float
    p99_ms: float
    min_ms: float
    num: int


def count_params(net: nn.Module) -> int:
    """The number of parameters; buffers (running statistics) don't count."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(fn: Callable[..., Any], *inputs: Any) -> int:
    """The multiply-adds of one call `fn(*inputs)`, forward only, without gradients; a module is counted in eval mode.

    On the meta device nothing is computed and large networks count at once.
    """
    with _evaluating(fn), torch.no_grad(), FlopCounterMode(display=False) as counter:
        fn(*inputs)
    return counter.get_total_flops() // 2


class LayerMacs(NamedTuple):
    """Multiply-adds of convolutions and linear layers, and values that batch norms wrote (one multiply-add each)."""

    layers: int
    norms: int


def count_layer_macs(fn: Callable[..., Any], *inputs: Any, net: nn.Module) -> LayerMacs:
    """The multiply-adds of one call `fn(*inputs)` as the layers of `net` tell them: a second opinion on `count_macs`.

    A hook on each layer that runs counts from its output; what is computed outside of layers is not seen. With the
    norms, tables 3.1 and 3.4 to 3.7 of the thesis recount to the digit.
    """
    layers = norms = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal layers, norms
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norms += output.numel()
        else:
            layers += output.numel() * _macs_per_output(layer)

    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
    hooks = [module.register_forward_hook(count) for module in net.modules() if isinstance(module, kinds)]
    try:
        with _evaluating(net), torch.no_grad():
            fn(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return LayerMacs(layers, norms)


def count_training_macs(net: nn.Module, *inputs: Any, forward: Callable[..., Tensor] | None = None) -> int:
    """The multiply-adds of a forward and a backward pass to all parameters of `net`, but not to its inputs.

    torch's own formula for the backward pass counts grouped convolutions 6 to 66 times too often (torch 2.13,
    recounted); ours is used in its place, and agrees where there are no groups. No gradient or statistic is changed.

    Args:
        net: whose parameters are trained.
        inputs: of one forward pass.
        forward: called instead of `net`, for instance to time another order of its operations.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    formula = {torch.ops.aten.convolution_backward: _convolution_backward_flops}
    with _evaluating(net), torch.enable_grad(), FlopCounterMode(display=False, custom_mapping=formula) as counter:
        output = (forward or net)(*inputs)
        torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    return counter.get_total_flops() // 2


def latency_ms(fn: Callable[[], Any], *, repeats: int = 20, warmup: int = 3) -> Latency:
    """How long `fn()` takes, after `warmup` calls that are not counted; waits for CUDA where it is in use.

    Raises:
        ConfigError: `repeats` under 1 or `warmup` under 0.
    """
    if repeats < 1 or warmup < 0:
        raise ConfigError(f"latency: repeats must be at least 1 and warmup 0, got {repeats} and {warmup}")
    for _ in range(warmup):
        fn()
    return summarize_ms([_timed_ms(fn) for _ in range(repeats)])


def summarize_ms(samples_ms: Iterable[float]) -> Latency:
    """Median, 99th percentile and least of measured times.

    Raises:
        ConfigError: there are none.
    """
    samples = np.fromiter(samples_ms, dtype=np.float64)
    if not samples.size:
        raise ConfigError("latency: no times to summarize")
    median, p99 = np.percentile(samples, [50, 99])
    return Latency(median_ms=float(median), p99_ms=float(p99), min_ms=float(samples.min()), num=samples.size)


def _macs_per_output(layer: nn.Module) -> int:
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    assert isinstance(layer, nn.Linear)
    return layer.in_features


def _timed_ms(fn: Callable[[], Any]) -> float:
    _wait_for_cuda()
    started = time.perf_counter()
    fn()
    _wait_for_cuda()
    return (time.perf_counter() - started) * 1e3


def _wait_for_cuda() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def _evaluating(fn: Any) -> Iterator[None]:
    """In the block, `fn` is in eval mode if it is a module; afterwards each of its modules is as it was."""
    modes = [(module, module.training) for module in fn.modules()] if isinstance(fn, nn.Module) else []
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _convolution_backward_flops(
    grad_out_shape: Sequence[int],
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_: Any,
) -> int:
    """2 × MACs of a convolution's backward pass: the forward pass's, once to the input and once to the weight."""
    positions = math.prod((x_shape if transposed else grad_out_shape)[2:]) * x_shape[0]
    return 2 * positions * math.prod(w_shape) * (int(output_mask[0]) + int(output_mask[1]))
