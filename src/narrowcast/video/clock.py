"""Presentation times that never stand still or run backwards, whatever a file says."""

from fractions import Fraction
from typing import final

DEFAULT_FPS = Fraction(25)  # ours: image folders and streams that state no rate
TICK_S = Fraction(1, 1000)  # ours: the smallest step, which is also what a Matroska file can hold
FORWARD_JUMP_S = 2  # ours: a stamp so far ahead of our own clock was set, not waited for
BACKWARD_JUMP_S = 1  # ours: less is jitter, mended frame by frame; more is a new time line (a camera that restarted)


@final
class Clock:
    """Turns the presentation stamps of a stream into seconds from its first frame, strictly increasing.

    >>> clock = Clock(period_s=Fraction(1, 25))
    >>> [str(clock.time_of(stamp)) for stamp in (Fraction(7), Fraction(15, 2), None, Fraction(15, 2), Fraction(9))]
    ['0', '1/2', '27/50', '541/1000', '2']
    """

    def __init__(self, *, period_s: Fraction) -> None:
        self.period_s = period_s
        self.last_s: Fraction | None = None
        self.has_jumped = False  # at the last stamp
        self._offset_s: Fraction | None = None

    def time_of(self, stamp_s: Fraction | None, *, waited_s: float | None = None) -> Fraction:
        """Seconds from the first frame; a missing stamp counts as one frame after the one before it.

        Args:
            waited_s: what has passed since the last frame by our own clock, of a camera; its clock may be set.
        """
        self.has_jumped = False
        time_s = self._mended(stamp_s)
        if waited_s is not None and self.last_s is not None and time_s - self.last_s > waited_s + FORWARD_JUMP_S:
            self.restart(gap_s=Fraction(waited_s).limit_denominator(1000))
            time_s, self.has_jumped = self._mended(stamp_s), True
        self.last_s = time_s
        return time_s

    def restart(self, *, gap_s: Fraction) -> None:
        """The next stamp belongs to a new time line that begins `gap_s` after the last frame."""
        self._offset_s = None
        if self.last_s is not None:
            self.last_s += max(gap_s - self.period_s, Fraction(0))

    def _mended(self, stamp_s: Fraction | None) -> Fraction:
        next_s = Fraction(0) if self.last_s is None else self.last_s + self.period_s
        if stamp_s is None:
            return next_s
        if self._offset_s is None:
            self._offset_s = next_s - stamp_s
        time_s = stamp_s + self._offset_s
        if self.last_s is None or time_s > self.last_s:
            return time_s
        if self.last_s - time_s > BACKWARD_JUMP_S:
            self._offset_s, self.has_jumped = next_s - stamp_s, True
            return next_s
        return self.last_s + min(TICK_S, self.period_s)
