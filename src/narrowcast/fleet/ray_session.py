"""A connection to Ray: one that is there, or a small one of our own on this machine; and Ray as an extra."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from narrowcast.core.errors import DependencyError, UsageError

STORE_BYTES = 256 * 2**20  # of objects on their way: a 1280×720 frame has 2.8 MB; Ray's own default is 30% of memory


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
