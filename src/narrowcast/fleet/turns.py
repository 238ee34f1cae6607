"""Threads that work one at a time, in the order in which they asked."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final


@final
class Turns:
    """A lock that is passed on to who has waited longest; it can be given away while one waits for something else.

    A thread of its own for each camera, but a core for one: without an order they would fight over the interpreter.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._is_taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False

    @contextmanager
    def given_away(self) -> Iterator[None]:
        """Let others work while the block runs."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()
