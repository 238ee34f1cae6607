"""How much of the machine work beside the stream may take: it pauses after each piece until it is within its share."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, final

Result = TypeVar("Result")
YIELD = 15  # steps of niceness; ours: a thirtieth of the processor where both want it


@final
class Allowance:
    """A share of processor time for the thread that calls `rest`.

    Args:
        cores: what may be taken on average; 0 for no limit.
        num_threads: cores that the work takes while it runs.
    """

    def __init__(self, cores: float, *, num_threads: int) -> None:
        self._rest_per_work = max(0.0, num_threads / cores - 1) if cores else 0.0
        self.rested_s = 0.0  # so far
        self.is_resting = False
        self._stopping = threading.Event()
        self._since_s = time.perf_counter()

    def begin(self) -> None:
        """Work begins now."""
        self._since_s = time.perf_counter()

    def rest(self) -> None:
        """Pause for as long as the work since `begin` or the last rest demands."""
        worked_s = time.perf_counter() - self._since_s
        self.begin()
        if self._rest_per_work:
            self.is_resting = True
            self._stopping.wait(worked_s * self._rest_per_work)
            self.is_resting = False
            self.rested_s += time.perf_counter() - self._since_s
            self.begin()

    def stop(self) -> None:
        """End the pause, and all to come."""
        self._stopping.set()


def give_way() -> None:
    """Let this thread, and those it will start, take what nobody else wants of the processor (Linux; else nothing).

    With several processors they have the policy SCHED_IDLE, which whoever wakes up interrupts at once; niceness alone
    lets it wait. With one there may be nothing left for that policy, so there they are only nice.
    """
    with suppress(OSError, AttributeError):
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, min(19, os.getpriority(os.PRIO_PROCESS, own) + YIELD))
        if YIELD and len(os.sched_getaffinity(0)) > 1:
            os.sched_setscheduler(own, os.SCHED_IDLE, os.sched_param(0))


def made_to_give_way(make: Callable[[], Result]) -> Result:
    """What `make` makes, with every thread that it starts giving way: a teacher with a pool of its own."""
    made: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        give_way()
        try:
            made.append(make())
        except BaseException as error:  # belongs to the caller
            errors.append(error)

    thread = threading.Thread(target=work, name="make")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return made[0]
