"""Where a run happens: device, precision, seed, and what must be written down to repeat it."""

import os
import platform
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from narrowcast.core.errors import ConfigError, UsageError

VERSIONED = ("narrowcast", "torch", "torchvision", "numpy", "av", "opencv-python-headless")


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is CUDA where there is one, else the CPU.

    Raises:
        UsageError: CUDA is asked for and absent, or the name is unknown.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if name != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: this machine has no CUDA device that torch can use; try --device cpu")
    device = torch.device(name)
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are only {torch.cuda.device_count()} CUDA devices, numbered from 0")
    return device


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32.

    On a CPU with AMX, JITNet is 1.7 times as fast as in float32, its updates 1.6 times: benchmarks/results/jitnet.json.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _cpu_has_fast_bfloat16() else torch.float32


def _cpu_has_fast_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.12
        return torch.cpu._is_avx512_bf16_supported()
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("amx_bf16") or flags.get("avx512_bf16"))


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; the only place that touches a global generator.

    Raises:
        ConfigError: NumPy takes no such seed.
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed = {seed}: must be from 0 to {2**32 - 1}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries below us may use the global one
    torch.manual_seed(seed)


def seed_step(seed: int, number: int) -> None:
    """Seed torch for step `number` of what `seed` began, so that a resumed training draws what it would have drawn."""
    torch.manual_seed((seed << 32) + number)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """torch's CPU generator seeded by `numbers` while the block runs, and as it was after it."""
    state = torch.get_rng_state()
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1))
    try:
        yield
    finally:
        torch.set_rng_state(state)


def loader_processes(wanted: int) -> int:
    """Processes that load data: as many as wanted, and no more than there are cores, of which torch would warn.

    What they load does not depend on how many they are.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # macOS has none
    return min(wanted, len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1)


def describe(device: torch.device) -> dict[str, Any]:
    """What `run.json` must hold for a run to be repeated: versions, commit, processor and device."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in VERSIONED},
        "commit": _commit(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "num_threads": torch.get_num_threads(),
        "num_cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this package is run from; None where it was installed from a wheel."""
    here = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return None
    try:
        shown = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return shown.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
