"""Signals that ask for an end: heard, remembered and obeyed where nothing is half done."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer


class Stop:
    """Whether an end was asked for, and by which signal."""

    signal: int | None = None

    @property
    def is_asked(self) -> bool:
        return self.signal is not None

    def exit(self) -> None:
        """End the command as a shell would tell it, 128 + the signal's number, if an end was asked for."""
        if self.signal is not None:
            raise typer.Exit(128 + self.signal)


@contextmanager
def stop_on_signal(what: str) -> Iterator[Stop]:
    """Ctrl-C, SIGTERM and a closed terminal ask for an end after `what`; a second Ctrl-C ends at once.

    A signal that is ignored already stays so (`nohup`).
    """
    stop = Stop()

    def ask(number: int, _: Any) -> None:
        if stop.is_asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number
        with suppress(OSError):  # not print, which may be at work just now
            os.write(2, f"\nending after {what}; Ctrl-C once more ends at once\n".encode())

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
