"""Benchmarks leave the network as it was, and ask for what exists."""

import pytest
import torch

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.bench import KINDS, bench

from .conftest import build


def test_a_benchmark_changes_nothing_and_has_a_row_a_kind() -> None:
    net = build("res")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    rows = list(bench(net, [3], size_hw=(32, 32), repeats=1))
    assert [row.what for row in rows] == list(KINDS)
    assert all(row.masked_ms > 0 and row.ratio == row.dispatched_ms / row.masked_ms for row in rows)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert (net.training, net.execution, net.norm_rows) == (False, "dispatched", "chosen")


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="training step"):
        list(bench(build("res"), [3], size_hw=(32, 32), kinds=["all"]))
