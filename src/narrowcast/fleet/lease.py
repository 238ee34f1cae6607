"""For how long a worker may run its cameras without hearing from whoever runs the fleet.

A worker that cannot be heard may live all the same, on the other side of a cut network. Its cameras may only be given
to another when it has surely let go of them: two that write one folder would spoil it.
"""

import time
from collections.abc import Callable
from typing import final

LEASE_S = 30.0  # ours: a worker that hears nothing for so long ends its cameras
LETTING_GO_S = 15.0  # ours: what ending takes, the frame at hand with its teacher's answer included


@final
class Lease:
    """A worker's: begun and renewed by every call that counts. What has run out begins again only with a higher turn.

    So a call that was long on its way cannot make a worker begin what others run by now.

    >>> now = [0.0]
    >>> lease = Lease(30.0, clock=lambda: now[0])
    >>> now[0] = 99.0; lease.renew(0)
    True
    >>> now[0] = 130.0; lease.has_run_out, lease.renew(0), lease.renew(1)
    (True, False, True)
    """

    def __init__(self, lease_s: float = LEASE_S, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s, self._clock = lease_s, clock
        self._renewed, self._turn, self._refused = float("inf"), 0, -1

    @property
    def has_run_out(self) -> bool:
        """Whether nothing may run any more."""
        if self._refused < self._turn and self._clock() - self._renewed > self._lease_s:
            self._refused = self._turn
        return self._refused >= self._turn

    def renew(self, turn: int) -> bool:
        """Hear a call of that turn; whether it counts."""
        if self.has_run_out and turn <= self._refused:
            return False
        self._turn, self._renewed = max(turn, self._turn), self._clock()
        return True


@final
class Contact:
    """The other side: what the one who runs the fleet knows of a worker that it calls, and when it is given up.

    Attributes:
        turn: to say in the next call.
        is_there: whether it answered last.
    """

    def __init__(self, lease_s: float = LEASE_S, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._after_s, self._clock = lease_s + LETTING_GO_S * lease_s / LEASE_S, clock
        self._called: float | None = None
        self.turn, self.is_there = 0, False

    def call(self) -> int:
        """Note that cameras are told to it now; the turn to say."""
        self._called = self._clock()
        return self.turn

    def answered(self) -> None:
        """It has answered."""
        self.is_there = True

    def lost(self) -> None:
        """It has not, or says that its lease has run out; what was on its way to it counts no more."""
        if self.is_there:
            self.turn += 1
        self.is_there = False

    @property
    def is_given_up(self) -> bool:
        """Whether it surely runs nothing, and may be back never."""
        return not self.is_there and (self._called is None or self._clock() - self._called > self._after_s)
