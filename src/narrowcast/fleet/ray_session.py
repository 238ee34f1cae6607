"""A connection to Ray: one that is there, or a small one of our own on this machine; and Ray as an extra."""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from narrowcast.core.errors import DependencyError, NarrowcastError, UsageError

STORE_BYTES = 256 * 2**20  # of objects on their way: a 1280×720 frame has 2.8 MB; Ray's own default is 30% of memory
HEAD_S = 15.0  # ours: a head that takes no connection for so long is lost; Ray itself ends this process after 60


class HeadLostError(NarrowcastError):
    """The head of Ray is gone, and with it whoever could start anything anew."""


@final
class Head:
    """The process of Ray without which nothing can be placed. Ray itself says nothing of its death before it is late.

    Args:
        address: host:port.
        lost_s: for so long it may not be reached.
    """

    def __init__(self, address: str, *, lost_s: float = HEAD_S) -> None:
        host, _, port = address.rpartition(":")
        self.address, self._place, self._lost_s = address, (host.strip("[]"), int(port)), lost_s
        self._heard = time.monotonic()

    def check(self) -> None:
        """Nothing, where it takes a connection or has lately.

        Raises:
            HeadLostError: it has not for too long.
        """
        try:
            socket.create_connection(self._place, timeout=1.0).close()
            self._heard = time.monotonic()
        except OSError as error:
            if time.monotonic() - self._heard > self._lost_s:
                raise HeadLostError(
                    f"the head of Ray at {self.address} is gone: workers that are left end their cameras within 45 s;"
                    " then fleet run --resume goes on, with another Ray or without --workers"
                ) from error


def load_ray() -> Any:
    """The module `ray`.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import ray  # an extra
    except ImportError:
        raise DependencyError("Ray is not installed: pip install 'narrowcast[ray]'; without it: one process") from None
    return ray


def draw_token() -> None:
    """Let Rays that this process starts serve only who knows a token; before Ray is imported, which looks once."""
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def connected(address: str | None = None, *, num_cpus: int | None = None) -> Iterator[Any]:
    """Ray while the block runs: the one that this process has already, else that at `address`, else a new one.

    A new one has no dashboard, sends nothing to anybody, and ends with the block. Its processes listen on ports of this
    machine, as Ray's do, but only to those who know a token that is drawn for it.

    Args:
        address: as `ray.init` takes it, such as `ray-head:6379` or `auto`.
        num_cpus: that a new one may hand out; None: those of the machine.

    Raises:
        DependencyError: Ray is not installed.
        UsageError: there is no Ray at that address.
    """
    if address is None:
        draw_token()
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                num_cpus=num_cpus,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                **quiet,
            )
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"no Ray at {address or 'this machine'}: {str(error).splitlines()[0]}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
