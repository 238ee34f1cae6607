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
        self._own = threading.local()

    def __enter__(self) -> None:
        with self._lock:
            turn = threading.Event()
            if self._is_taken:
                self._waiting.append(turn)
            else:
                self._is_taken = True
                turn.set()
        turn.wait()
        self._own.has_turn = True

    def __exit__(self, *_: object) -> None:
        self._own.has_turn = False
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False

    @contextmanager
    def given_away(self) -> Iterator[None]:
        """Let others work while the block runs; a thread that has no turn has none to give."""
        if not getattr(self._own, "has_turn", False):
            yield
            return
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()
