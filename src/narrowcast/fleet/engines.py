"""One function over many items: in this process, in processes of this machine, or wherever Ray places it.

All three give the results in the order of the items and hold few of them at a time; what runs is the same function.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from narrowcast.core.errors import UsageError
from narrowcast.fleet.ray_session import connected

AHEAD = 2  # tasks a worker that are on their way: one at work, one ready
Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Runs `function`, which must be one of a module, on every item."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]: ...


def in_turn(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """In this process, one after another."""
    return map(function, items)


@contextmanager
def processes(num: int) -> Iterator[Engine]:
    """In `num` processes of this machine.

    Raises:
        UsageError: `num` is not positive.
    """
    _check(num)
    # a copy of this process (fork) would share its threads' locks
    with ProcessPoolExecutor(num, mp_context=get_context("spawn"), initializer=_one_thread) as executor:

        def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            return _in_order(
                items, lambda item: executor.submit(function, item), lambda future: future.result(), num * AHEAD
            )

        yield run


@contextmanager
def ray_tasks(num: int, *, address: str | None = None) -> Iterator[Engine]:
    """As tasks of Ray, of which at most 2 × `num` are on their way; each asks Ray for one core.

    Raises:
        UsageError: `num` is not positive, or there is no Ray at `address`.
        DependencyError: Ray is not installed.
    """
    _check(num)
    with connected(address, num_cpus=num) as ray:

        def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            task, shared = ray.remote(num_cpus=1, max_retries=3)(_call), ray.put(function)
            return _in_order(items, lambda item: task.remote(shared, item), ray.get, num * AHEAD)

        yield run


def _in_order(
    items: Iterable[Any], begin: Callable[[Any], Any], result: Callable[[Any], Any], num_ahead: int
) -> Iterator[Any]:
    """Results in the order of the items; the next item is begun when the oldest result is taken."""
    rest = iter(items)
    waiting = deque(begin(item) for item in itertools.islice(rest, num_ahead))
    while waiting:
        found = result(waiting.popleft())
        waiting.extend(begin(item) for item in itertools.islice(rest, 1))
        yield found


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    _one_thread()
    return function(item)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # the processes share the cores


def _check(num: int) -> None:
    if num < 1:
        raise UsageError(f"--workers {num}: must be positive")
