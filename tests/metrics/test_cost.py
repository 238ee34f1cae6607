"""Multiply-adds by formula, latencies by a clock."""

import time

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from narrowcast.core.errors import ConfigError
from narrowcast.metrics.cost import (
    count_layer_macs,
    count_macs,
    count_params,
    count_training_macs,
    latency_ms,
    summarize_ms,
)


def test_forward_counts_are_the_formula() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
    first, second = 8 * 3 * 9 * 16 * 12, 8 * 9 * 14 * 10
    assert count_macs(net, torch.zeros(1, 3, 32, 24)) == first + second
    assert count_macs(nn.Linear(10, 4), torch.zeros(5, 10)) == 200
    assert count_params(net) == 3 * 8 * 9 + 8 + 8 * 9 + 8


def test_counting_computes_nothing_on_the_meta_device() -> None:
    with torch.device("meta"):
        assert count_macs(nn.Linear(100_000, 100_000), torch.empty(7, 100_000)) == 7 * 10**10


def test_layers_tell_the_same_count_and_norms_are_extra() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 6 * 4, 5))
    images = torch.rand(2, 4, 8, 6)
    assert count_macs(net, images) == 2 * (24 * 8 * 2 * 9 + 5 * 192)
    assert count_layer_macs(net, images, net=net) == (count_macs(net, images), 2 * 8 * 24)
    count_layer_macs(lambda x: net[0](net[0](x).repeat(1, 2, 1, 1)[:, :4]), images, net=net)
    assert not any(module._forward_hooks for module in net.modules())


def test_counting_leaves_the_network_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    net[2].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    count_macs(net, torch.rand(2, 3, 8, 8))
    count_training_macs(net, torch.rand(2, 3, 8, 8))
    assert [module.training for module in net] == [True, True, False]
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("transposed", [False, True], ids=["convolution", "transposed"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_backward_costs_the_forward_twice_and_once_at_the_input(transposed: bool, stride: int, groups: int) -> None:
    """torch's own count is 6 to 66 times too high with groups; without groups it is right and must be ours."""
    build = nn.ConvTranspose2d if transposed else nn.Conv2d
    first = build(4, 8, 3, stride=stride, bias=False)
    second = build(8, 16, 3, stride=stride, groups=groups)
    net, x = nn.Sequential(first, second), torch.rand(2, 4, 20, 15)
    macs_first, macs_second = count_macs(first, x), count_macs(second, first(x).detach())
    assert count_training_macs(net, x) == 2 * macs_first + 3 * macs_second
    if groups == 1:
        with FlopCounterMode(display=False) as counter:
            net(x).sum().backward()
        assert counter.get_total_flops() // 2 == count_training_macs(net, x)


def test_frozen_layers_cost_no_weight_gradient() -> None:
    frozen, head = nn.Conv2d(3, 4, 1).requires_grad_(False), nn.Conv2d(4, 2, 1)
    x = torch.rand(1, 3, 5, 5)
    assert count_training_macs(nn.Sequential(frozen, head), x) == 25 * 12 + 2 * 25 * 8


def test_latency_times_the_calls_and_not_the_warmup() -> None:
    calls = []

    def work() -> None:
        calls.append(time.perf_counter())
        time.sleep(0.2 if len(calls) == 1 else 0.002)

    latency = latency_ms(work, repeats=5, warmup=1)
    assert (len(calls), latency.num) == (6, 5)
    assert 2 <= latency.min_ms <= latency.median_ms <= latency.p99_ms < 200


def test_summaries_are_percentiles() -> None:
    latency = summarize_ms(float(value) for value in range(101))
    assert (latency.median_ms, latency.p99_ms, latency.min_ms, latency.num) == (50, 99, 0, 101)


def test_nothing_cannot_be_timed() -> None:
    with pytest.raises(ConfigError, match="no times"):
        summarize_ms([])
    with pytest.raises(ConfigError, match="repeats"):
        latency_ms(lambda: None, repeats=0)
