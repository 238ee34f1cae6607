"""The progress line: one line on stderr, redrawn on a terminal, one line every ten seconds elsewhere."""

import sys
import time
from types import TracebackType


class Progress:
    """Draws `label  done/total  percent  text  ETA`. Nothing is drawn more often than a person can read.

    A terminal that goes away takes the progress line with it, not the work.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._is_terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown, self._first, self._width = -1e9, 0, 0
        self._is_gone = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal and self._width:
            self._print("\n")

    def rate(self, done: int) -> float:
        """Per second since the first call of `show`."""
        return (done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def show(self, done: int, total: int | None, text: str, rate: float | None = None) -> None:
        """Draw where things stand; `rate` (per second) is measured from the first call where it is not given."""
        now = time.monotonic()
        if self._shown < 0:
            self._started, self._first = now, done
        total = None if total is not None and done > total else total  # it was an estimate, and a wrong one
        is_last = done == total
        if now - self._shown < (0.2 if self._is_terminal else 10.0) and not is_last:
            return
        self._shown = now
        measured = rate or self.rate(done)
        parts = [f"{self.label}  {done}" + (f"/{total}  {100 * done / total:.0f}%" if total else ""), text]
        if total and measured > 0 and not is_last:
            parts.append(f"ETA {_clock((total - done) / measured)}")
        self._draw("  ".join(part for part in parts if part))

    def _draw(self, line: str) -> None:
        if self._is_terminal:
            self._print("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._print(line + "\n")

    def _print(self, text: str) -> None:
        if self._is_gone:
            return
        try:
            print(text, end="", file=sys.stderr, flush=True)
        except OSError:
            self._is_gone = True


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
