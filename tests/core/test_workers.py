"""Processes of torchrun that train together."""

import os
import socket
import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest
import torch

from narrowcast.core.errors import NarrowcastError
from narrowcast.core.workers import WORKING, joined, workers


@pytest.fixture
def started_by_torchrun(monkeypatch: pytest.MonkeyPatch):
    """`started_by_torchrun(num)`: this process is the first of so many."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def started(num: int) -> None:
        told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(num), "MASTER_ADDR": "127.0.0.1"}
        for name, value in (told | {"MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}).items():
            monkeypatch.setenv(name, value)

    return started


def test_who_is_not_there_is_not_waited_for_without_end(started_by_torchrun) -> None:
    started_by_torchrun(2)
    with (
        pytest.raises(NarrowcastError, match=r"process 0 of 2: the others have not come within 1 s \("),
        joined(torch.device("cpu"), within=timedelta(seconds=1)),
    ):
        pass


def test_who_is_there_and_cannot_connect_is_told_so(started_by_torchrun, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("connection refused\nat a line of C++")

    monkeypatch.setattr(torch.distributed, "init_process_group", refuse)
    started_by_torchrun(1)
    wanted = r"process 0 of 1: all have come, and are not connected after 30 s \(connection refused\)$"
    with pytest.raises(NarrowcastError, match=wanted), joined(torch.device("cpu")):
        pass


def test_who_has_joined_may_wait_longer(started_by_torchrun) -> None:
    started_by_torchrun(1)
    with joined(torch.device("cpu"), within=timedelta(seconds=20)) as own:
        assert (own.num, own.is_first) == (1, True)
        group = torch.distributed.distributed_c10d._get_default_group()
        assert group._get_backend(torch.device("cpu")).options._timeout == WORKING
    assert workers().num == 1


@pytest.mark.slow
def test_who_hangs_while_joining_is_ended(started_by_torchrun) -> None:
    """Gloo once held both processes of a restart for a quarter of an hour, whatever its timeout."""
    code = """
    import time
    from datetime import timedelta
    import torch
    from torch import distributed
    from narrowcast.core import workers
    workers.CONNECTING, workers.LATE = timedelta(seconds=1), timedelta(0)
    distributed.init_process_group = lambda *_, **__: time.sleep(60)
    with workers.joined(torch.device("cpu")):
        pass
    """
    started_by_torchrun(1)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=55)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
