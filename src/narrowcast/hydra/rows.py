"""One branch's layers run for many (image, branch) rows at once, each row with the weights of its own branch.

All branches of a HydraNet are alike but for their weights. The first one's graph is traced once (torch.fx); its layers
with weights are replaced by layers that pick a row's weights from the stacked weights of all branches, everything
else (ReLU, sums, pools) runs as it is, since a row is an entry of the batch. Without gradients, batch norms are folded
into the convolutions before them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import final, overload

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

GROUPED_ON = ("cuda",)  # where one kernel multiplies all branches
GROUPED_MULTIPLE = 8  # of channels: that kernel wants rows of 16 bytes in bfloat16
WEIGHTED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d)


@final
class Rows:
    """The branches of the rows that are being run; shared by all layers of a row branch.

    Attributes:
        branch_ix: of each row.
        counts: rows a branch where rows are in order of branch; empty where they are in any order.
        only: the branch of all rows, or -1 where they have several.
    """

    def __init__(self) -> None:
        self.branch_ix = torch.empty(0, dtype=torch.long)
        self.counts: list[int] = []
        self.only = -1

    def segments(self) -> Iterator[tuple[int, slice]]:
        """The branches that have rows, and where these are."""
        start = 0
        for branch, count in enumerate(self.counts):
            if count:
                yield branch, slice(start, start + count)
            start += count


@final
class RowConv(nn.Module):
    """A convolution with weights (branches, out, in / groups, h, w)."""

    def __init__(self, rows: Rows, layer: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.rows, self.layer = rows, layer
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.weight: Tensor
        self.bias: Tensor | None
        is_point = layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0)
        self.is_pointwise = is_point and layer.groups == 1

    def forward(self, x: Tensor) -> Tensor:
        if self.rows.only >= 0:
            return self._by_one(x, self.rows.only)
        if self.rows.counts:
            return self._by_product(x) if self.is_pointwise else self._by_segment(x)
        weight, bias = _pick(self.weight, self.rows), _pick(self.bias, self.rows)
        num_rows, channels, height, width = x.shape
        if self.is_pointwise:
            pixels, kernel = x.reshape(num_rows, channels, height * width), weight.flatten(2)
            out = torch.bmm(kernel, pixels) if bias is None else torch.baddbmm(bias[:, :, None], kernel, pixels)
            return out.view(num_rows, -1, height, width)
        x = x.reshape(1, num_rows * channels, height, width)  # rows become groups
        out = self._convolve(x, weight.flatten(0, 1), None if bias is None else bias.flatten(), groups=num_rows)
        return out.view(num_rows, -1, *out.shape[2:])

    def _by_product(self, x: Tensor) -> Tensor:
        num_rows, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
        out = _products(pixels, self.weight.flatten(2), self.bias, self.rows, repeats=height * width)
        return out.view(num_rows, height, width, -1).permute(0, 3, 1, 2)

    def _by_segment(self, x: Tensor) -> Tensor:
        return torch.cat([self._by_one(x[where], branch) for branch, where in self.rows.segments()])

    def _by_one(self, x: Tensor, branch: int) -> Tensor:
        return self._convolve(x, self.weight[branch], None if self.bias is None else self.bias[branch], groups=1)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int) -> Tensor:
        layer = self.layer
        return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups * groups)


@final
class RowLinear(nn.Module):
    """A linear layer with weights (branches, out, in), for rows of vectors."""

    def __init__(self, rows: Rows, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.rows = rows
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.weight: Tensor
        self.bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        if self.rows.only >= 0:
            only = self.rows.only
            return F.linear(x, self.weight[only], None if self.bias is None else self.bias[only])
        if self.rows.counts:
            return _products(x, self.weight, self.bias, self.rows, repeats=1)
        out = torch.bmm(_pick(self.weight, self.rows), x[:, :, None])[:, :, 0]
        bias = _pick(self.bias, self.rows)
        return out if bias is None else out + bias


@final
class RowNorm(nn.Module):
    """A batch norm with its running statistics, as a scale and a shift a channel (branches, channels)."""

    def __init__(self, rows: Rows, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.rows = rows
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        shape = (1 if self.rows.only >= 0 else x.shape[0], -1, *(1,) * (x.ndim - 2))
        return torch.addcmul(_pick(self.shift, self.rows).view(shape), x, _pick(self.scale, self.rows).view(shape))


@overload
def _pick(stacked: Tensor, rows: Rows) -> Tensor: ...
@overload
def _pick(stacked: Tensor | None, rows: Rows) -> Tensor | None: ...
def _pick(stacked: Tensor | None, rows: Rows) -> Tensor | None:
    """Each row's own entry, or the one that all rows share."""
    if stacked is None:
        return None
    return stacked[rows.only : rows.only + 1] if rows.only >= 0 else stacked.index_select(0, rows.branch_ix)


def _products(x: Tensor, weight: Tensor, bias: Tensor | None, rows: Rows, *, repeats: int) -> Tensor:
    """One matrix product a branch: x (rows · repeats, in), weight (branches, out, in) -> (rows · repeats, out)."""
    if x.device.type in GROUPED_ON and _fits_grouped(x, weight):
        return grouped_products(x, weight, bias, rows, repeats=repeats)
    parts = []
    out = None if torch.is_grad_enabled() else x.new_empty(len(x), weight.shape[1])
    for branch, where in rows.segments():
        segment = slice(where.start * repeats, where.stop * repeats)
        if out is None or bias is None:
            parts.append(F.linear(x[segment], weight[branch], None if bias is None else bias[branch]))
        else:  # straight to its place: a fifth of the time went into joining parts
            torch.addmm(bias[branch], x[segment], weight[branch].t(), out=out[segment])
    return torch.cat(parts) if parts or out is None else out


def _fits_grouped(x: Tensor, weight: Tensor) -> bool:
    return x.dtype == torch.bfloat16 and not any(num % GROUPED_MULTIPLE for num in weight.shape[1:])


def grouped_products(x: Tensor, weight: Tensor, bias: Tensor | None, rows: Rows, *, repeats: int) -> Tensor:
    """The same in one kernel, which multiplies bfloat16 on CUDA."""
    ends = torch.tensor(rows.counts, device=x.device).cumsum(0).mul(repeats).to(torch.int32)
    out = F.grouped_mm(x, weight.to(x.dtype).transpose(1, 2), offs=ends)
    if bias is None:
        return out
    return out + bias.to(out.dtype).index_select(0, rows.branch_ix).repeat_interleave(repeats, dim=0)


class UntraceableBranchError(Exception):
    """The branch does something that cannot be run row by row; the loop over branches can always run it."""


def trace(branches: Sequence[nn.Module]) -> fx.GraphModule:
    """The graph of a branch.

    Raises:
        UntraceableBranchError: the branches differ, or have weights in layers other than convolution, linear and norm.
    """
    if len({str(branch) for branch in branches}) > 1:
        raise UntraceableBranchError("the branches differ")
    try:
        traced = fx.symbolic_trace(branches[0])
    except Exception as error:  # tracing runs the user's code with stand-ins, which may fail in any way
        raise UntraceableBranchError(f"cannot be traced: {error}") from error
    called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            raise UntraceableBranchError(f"reads the tensor '{node.target}' outside of a layer")
        if node.op == "call_module":
            layer = traced.get_submodule(str(node.target))
            if any(True for _ in layer.parameters()) and not isinstance(layer, WEIGHTED):
                raise UntraceableBranchError(f"has weights in a {type(layer).__name__}")
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and not layer.track_running_stats:
                raise UntraceableBranchError("has a batch norm without running statistics")
            if isinstance(layer, WEIGHTED) and called.count(str(node.target)) > 1:
                raise UntraceableBranchError(f"uses the layer '{node.target}' twice")
            if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
                raise UntraceableBranchError("pads a convolution in another way than with zeros")
    return traced


def row_branch(traced: fx.GraphModule, branches: Sequence[nn.Module], *, folded: bool) -> tuple[nn.Module, Rows]:
    """A module that runs rows, and where to put their branches.

    Args:
        traced: of `trace`.
        branches: whose present weights are stacked; differentiably unless `folded`.
        folded: norms are folded into the convolutions before them.
    """
    rows, parts = Rows(), dict(traced.named_modules())
    graph, layers = _copy(traced.graph), {}
    for node in list(graph.nodes):
        if node.op != "call_module" or node.target in layers:
            continue
        name, layer = str(node.target), parts[str(node.target)]
        norm = _norm_after(node, parts) if folded else None
        if isinstance(layer, nn.Conv2d):
            weight, bias = _stack(branches, name, "weight"), _stack(branches, name, "bias")
            if norm is not None:
                weight, bias = _fold(weight, bias, *_scale_shift(branches, str(norm.target)))
                norm.replace_all_uses_with(node)
                graph.erase_node(norm)
            assert weight is not None
            layers[name] = RowConv(rows, layer, weight, bias)
        elif isinstance(layer, nn.Linear):
            weight = _stack(branches, name, "weight")
            assert weight is not None
            layers[name] = RowLinear(rows, weight, _stack(branches, name, "bias"))
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layers[name] = RowNorm(rows, *_scale_shift(branches, name))
        else:
            layers[name] = layer
    return fx.GraphModule(layers, graph), rows


def _copy(graph: fx.Graph) -> fx.Graph:
    copied = fx.Graph()
    copied.output(copied.graph_copy(graph, {}))
    return copied


def _norm_after(node: fx.Node, parts: Mapping[str, nn.Module]) -> fx.Node | None:
    """The batch norm that is all that reads `node`, if there is one."""
    if not isinstance(parts[str(node.target)], nn.Conv2d) or len(node.users) != 1:
        return None
    (user,) = node.users
    is_norm = user.op == "call_module" and isinstance(parts[str(user.target)], nn.BatchNorm2d)
    return user if is_norm else None


def _stack(branches: Sequence[nn.Module], layer: str, name: str) -> Tensor | None:
    if getattr(branches[0].get_submodule(layer), name) is None:
        return None
    return torch.stack([getattr(branch.get_submodule(layer), name) for branch in branches])


def _scale_shift(branches: Sequence[nn.Module], layer: str) -> tuple[Tensor, Tensor]:
    """Running statistics and affine weights of a norm as y = scale · x + shift."""
    mean, variance = _stack(branches, layer, "running_mean"), _stack(branches, layer, "running_var")
    assert mean is not None  # `trace` has seen to it
    assert variance is not None
    norm = branches[0].get_submodule(layer)
    assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
    scale = (variance + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * _stack(branches, layer, "weight")  # pyright: ignore[reportOperatorIssue] - affine has weights
    shift = -mean * scale
    return scale, shift + _stack(branches, layer, "bias") if norm.affine else shift  # pyright: ignore[reportOperatorIssue]


def _fold(weight: Tensor | None, bias: Tensor | None, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    assert weight is not None
    return weight * scale[:, :, None, None, None], shift if bias is None else shift + bias * scale
