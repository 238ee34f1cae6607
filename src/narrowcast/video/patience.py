"""How a lost camera is waited for."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Waits between the attempts to connect again, each twice as long as the one before.

    Attributes:
        first_s, longest_s: the first wait, and what none exceeds.
        attempts: in a row, since the last picture; 0: for ever.
        timeout_s: for an answer, and again for each read.
        probe_s: what libav may take of a stream at most to see what is in it, before the first picture.
        expects_no_end: a stream without a length has no end: where it ends, the connection was lost.
    """

    first_s: float = 1.0
    longest_s: float = 32.0
    attempts: int = 6
    timeout_s: float = 10.0
    probe_s: float = 5.0  # libav's own
    expects_no_end: bool = False

    def waits_s(self) -> Iterator[float]:
        """One wait an attempt.

        >>> list(Patience(first_s=0.5, longest_s=1.5, attempts=4).waits_s())
        [0.5, 1.0, 1.5, 1.5]
        """
        wait_s, done = self.first_s, 0
        while not self.attempts or done < self.attempts:
            yield min(wait_s, self.longest_s)
            wait_s, done = min(2 * wait_s, self.longest_s), done + 1


SHORT = Patience()  # ours: about a minute
# Ours: a camera that comes back has to be seen within two seconds, however long it was away.
LIVE = Patience(first_s=0.1, longest_s=0.5, attempts=0, timeout_s=5.0, probe_s=0.5, expects_no_end=True)
