"""Devices are refused in words, seeds give the same numbers, and a run can be described as JSON."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from narrowcast import __version__
from narrowcast.core import runtime
from narrowcast.core.errors import UsageError

HAS_CUDA = torch.cuda.is_available()


def test_auto_is_cuda_where_there_is_one() -> None:
    assert runtime.pick_device("auto").type == ("cuda" if HAS_CUDA else "cpu")
    assert runtime.pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cpu:0"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}: expected auto, cpu, cuda or cuda:N"):
        runtime.pick_device(name)


@pytest.mark.skipif(HAS_CUDA, reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_asked_for_and_absent_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}: this machine has no CUDA device.*--device cpu"):
        runtime.pick_device(name)


def test_a_device_number_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert runtime.pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UsageError, match="--device cuda:3: there are only 1 CUDA devices"):
        runtime.pick_device("cuda:3")
    with pytest.raises(UsageError, match="--device cuda:x: expected"):
        runtime.pick_device("cuda:x")


def test_a_seed_fixes_all_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002

    runtime.seed_everything(5)
    first = draw()
    runtime.seed_everything(5)
    assert draw() == first
    runtime.seed_everything(6)
    assert draw() != first


def test_the_precision_is_one_that_the_cpu_computes() -> None:
    dtype = runtime.compute_dtype(torch.device("cpu"))
    assert dtype in (torch.float32, torch.bfloat16)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_a_run_can_be_described_in_json() -> None:
    described = json.loads(json.dumps(runtime.describe(torch.device("cpu"))))
    assert described["versions"]["narrowcast"] == __version__
    assert torch.__version__.startswith(described["versions"]["torch"])
    assert described["device"]
    assert described["num_threads"] >= 1


def test_importing_the_runtime_touches_no_generator() -> None:
    code = """
import random, numpy as np, torch
random.seed(1), np.random.seed(1), torch.manual_seed(1)
first = random.random(), np.random.random(), torch.rand(()).item()
random.seed(1), np.random.seed(1), torch.manual_seed(1)
import narrowcast.core.runtime, narrowcast.core.training
assert first == (random.random(), np.random.random(), torch.rand(()).item())
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_more_processes_load_than_there_are_cores() -> None:
    assert runtime.loader_processes(0) == 0
    assert runtime.loader_processes(1) == 1
    assert 1 <= runtime.loader_processes(10_000) <= (os.cpu_count() or 1)
