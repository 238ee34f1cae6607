"""Who may ask the teacher how often: decisions as pure functions, and the purse that keeps a camera to them.

Time is that of the video: of a live camera it is the clock's; a file that is played faster keeps its budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

GAIN = 8.0  # ours: 10 points of mean IoU below the target, or lost lately, count 1.8 times as much as none
BURST = 2.0  # calls that may be saved up; ours: after a scene cut two teacher frames can follow closely


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is known of a camera's need.

    Attributes:
        wants_per_s: calls that its own stride would make.
        target: mean IoU that is enough for it.
        accuracy: mean IoU against the teacher on its last teacher frames; None before the first.
        fall: how much less that is than on the ones before.
    """

    wants_per_s: float
    target: float
    accuracy: float | None
    fall: float = 0.0


def weight_of(need: Need) -> float:
    """How much a camera's need counts: 1 where it is good enough, more the further below and the faster it falls.

    >>> [weight_of(Need(wants_per_s=1, target=0.8, accuracy=accuracy)) for accuracy in (0.9, 0.8, 0.7)]
    [1.0, 1.0, 1.8]
    """
    short = 0.0 if need.accuracy is None else max(0.0, need.target - need.accuracy)
    return round(1.0 + GAIN * (short + max(0.0, need.fall)), 12)


def share_calls(needs: Sequence[Need], *, calls_per_s: float, least_share: float) -> list[float]:
    """Calls per second for each camera, at most `calls_per_s` together (as many as they want where that is 0).

    Nobody is given more than it wants while another wants more. First everyone gets `least_share` of an equal part, or
    what it wants where that is less; the rest is divided in proportion to `weight_of`, what one has too much going to
    the others (max-min fairness by weights). What nobody wants is divided equally: who suddenly needs more has it.

    >>> calm, lost = (Need(wants_per_s=2, target=0.8, accuracy=accuracy) for accuracy in (0.8, 0.55))
    >>> share_calls([calm, lost], calls_per_s=2, least_share=0)
    [0.5, 1.5]
    """
    num = len(needs)
    wants = [need.wants_per_s for need in needs]
    if not calls_per_s or not num:
        return [float("inf")] * num
    floor = least_share * calls_per_s / num
    rates = [min(want, floor) for want in wants]
    weights = [weight_of(need) for need in needs]
    rest, open_ = calls_per_s - sum(rates), [ix for ix in range(num) if wants[ix] > rates[ix]]
    while open_ and rest > 1e-12:
        level = rest / sum(weights[ix] for ix in open_)
        full = [ix for ix in open_ if wants[ix] - rates[ix] <= level * weights[ix]]
        if not full:
            for ix in open_:
                rates[ix] += level * weights[ix]
            rest = 0.0
            break
        for ix in full:
            rest -= wants[ix] - rates[ix]
            rates[ix] = wants[ix]
        open_ = [ix for ix in open_ if ix not in full]
    return [rate + max(0.0, rest) / num for rate in rates]


def fairness(values: Sequence[float]) -> float:
    """Jain's index of what each got of what was its own: 1 where all got the same part, 1/n where one got everything.

    >>> fairness([1.0, 1.0]), fairness([1.0, 0.0])
    (1.0, 0.5)
    """
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


@final
class Purse:
    """Calls that one camera may make: `rate` a second of video time, at most `BURST` saved; the first is free.

    >>> purse = Purse(rate=0.5)
    >>> [purse.take(time_s) for time_s in (0.0, 1.0, 2.0, 3.0)]
    [True, False, True, False]
    """

    def __init__(self, rate: float = float("inf")) -> None:
        self.rate = rate
        self.num_refused = 0
        self._saved, self._last_s = 1.0, 0.0

    def take(self, time_s: float) -> bool:
        """Whether a call may be made now; it is paid for if so."""
        passed_s, self._last_s = max(0.0, time_s - self._last_s), max(time_s, self._last_s)
        self._saved = BURST if self.rate == float("inf") else min(BURST, self._saved + passed_s * self.rate)
        if self._saved < 1.0:
            self.num_refused += 1
            return False
        self._saved -= 1.0
        return True
