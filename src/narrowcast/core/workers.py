"""Processes that train one network together: which of them this is, as torchrun tells it.

Without torchrun there is one process and nothing here does anything.
"""

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from narrowcast.core.errors import NarrowcastError, UsageError

JOINING = timedelta(minutes=5)  # ours: they are started together, but import torch first, perhaps from a slow disk
CONNECTING = timedelta(seconds=30)  # ours: all are there by then, so that this is a moment's work
LATE = timedelta(seconds=15)  # ours: after that; what is not back then hangs
WORKING = timedelta(minutes=30)  # torch's own: the first one may prepare data while the others wait


@dataclass(frozen=True, slots=True)
class Workers:
    """This process is number `rank` of `num`; on its machine it is number `local_rank`."""

    rank: int = 0
    num: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files that all share."""
        return self.rank == 0


def workers() -> Workers:
    """This process among those that `joined` connected; alone where none did."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Workers()
    rank = distributed.get_rank()
    return Workers(rank, distributed.get_world_size(), int(os.environ.get("LOCAL_RANK", rank)))


@contextmanager
def joined(device: torch.device, *, within: timedelta = JOINING) -> Iterator[Workers]:
    """Connect the processes that torchrun started (NCCL on CUDA, else Gloo) while the block runs.

    Args:
        within: this time all must have come; then they connect within `CONNECTING`, and later they may wait for
            each other as long as `WORKING`.

    Raises:
        UsageError: there are more processes on this machine than CUDA devices.
        NarrowcastError: not all have come, or they cannot connect; torchrun then starts all again, if it may.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield workers()
        return
    if device.type == "cuda":
        local_rank, num_devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= num_devices:
            raise UsageError(f"torchrun --nproc-per-node: this machine has only {num_devices} CUDA devices")
        torch.cuda.set_device(local_rank)
    with _told(f"the others have not come within {within.total_seconds():.0f} s"):
        store, rank, num = next(rendezvous("env://", timeout=within))
        _meet(store, num)
    with (
        _told(f"all have come, and are not connected after {CONNECTING.total_seconds():.0f} s"),
        _ended_after(CONNECTING + LATE),
    ):
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=num, timeout=CONNECTING
        )
    _allow(WORKING)
    try:
        yield workers()
        distributed.barrier()  # Gloo aborts a process whose partner has left while they still talk
    finally:
        distributed.destroy_process_group()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn torch's errors of the block into a line of ours."""
    try:
        yield
    except (distributed.DistError, RuntimeError) as error:
        rank, num = os.environ.get("RANK", "?"), os.environ.get("WORLD_SIZE", "?")
        reason = str(error).strip().splitlines()[0]
        raise NarrowcastError(f"process {rank} of {num}: {what} ({reason})") from error


def _meet(store: distributed_c10d.Store, num: int) -> None:
    """Wait until all processes are at the store, for as long as it was made to wait.

    After a node has come or gone torchrun may keep the store, which then remembers the earlier ones: nobody waits here.
    """
    if store.add("narrowcast/come", 1) >= num:
        store.set("narrowcast/all-have-come", "")
    store.wait(["narrowcast/all-have-come"])


@contextmanager
def _ended_after(limit: timedelta) -> Iterator[None]:
    """End this process, and say where it hung, if the block takes longer.

    Gloo has been seen to hang in a restart, with all processes there, for longer than its own timeout. No exception
    comes then, and a thread in Python might not get its turn: this one is in C.
    """
    faulthandler.dump_traceback_later(limit.total_seconds(), exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _allow(waiting: timedelta) -> None:
    """Let processes wait so long for each other from now on; where torch cannot say that any more, as they joined."""
    for name in ("set_timeout", "_set_pg_timeout"):  # the second before torch 2.10
        if hasattr(distributed_c10d, name):
            getattr(distributed_c10d, name)(waiting)
            return


def one_process(command: str) -> None:
    """Nothing, unless torchrun started this process.

    Raises:
        UsageError: it did; every process would do the same work and write the same files.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise UsageError(f"{command} works in one process; start it without torchrun")


def mean_over_workers(value: torch.Tensor) -> torch.Tensor:
    """The mean of every process's `value`; the value itself where there is one process."""
    if workers().num == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / workers().num


def wait_for_all() -> None:
    """Go on when every process is here."""
    if workers().num > 1:
        distributed.barrier()
