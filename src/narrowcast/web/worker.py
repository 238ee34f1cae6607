"""One thread for all that takes long: what somebody waits for goes first, what is done ahead is done once."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar, final

log = logging.getLogger(__name__)
NICE = 10
MOST_REST_S = 2.0
Result = TypeVar("Result")


@final
class Worker:
    """Runs calls one after the other."""

    def __init__(self, name: str) -> None:
        self._wake = threading.Condition()
        self._awaited: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._ahead: dict[object, Callable[[], object]] = {}
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, what: Callable[[], Result]) -> "Future[Result]":
        """Run `what` before everything that is done ahead; its result."""
        future: Future[Result] = Future()
        with self._wake:
            if self._is_closed:
                raise RuntimeError("the worker is closed")
            self._awaited.append((future, what))
            self._wake.notify()
        return future

    def ahead(self, key: object, what: Callable[[], object]) -> None:
        """Run `what` when nobody waits for anything; of calls with the same key only the newest."""
        with self._wake:
            self._ahead.pop(key, None)
            self._ahead[key] = what
            self._wake.notify()

    def close(self) -> None:
        """End after the call that runs; who waits for another is told."""
        with self._wake:
            self._is_closed = True
            self._ahead.clear()
            for future, _ in self._awaited:
                future.cancel()
            self._awaited.clear()
            self._wake.notify()
        self._thread.join(60)

    def _run(self) -> None:
        with suppress(OSError):  # those who wait for an answer come first, whatever is computed; Linux knows threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._awaited or self._ahead or self._is_closed)
                if self._is_closed:
                    return
                future, what = self._awaited.popleft() if self._awaited else (None, self._first_ahead())
            began = time.monotonic()
            self._do(future, what)
            if future is None:  # at most half of the time: what is done ahead comes again with the next label
                with self._wake:
                    rest_s = min(MOST_REST_S, time.monotonic() - began)
                    self._wake.wait_for(lambda: self._awaited or self._is_closed, rest_s)

    def _first_ahead(self) -> Callable[[], object]:
        return self._ahead.pop(next(iter(self._ahead)))

    def _do(self, future: "Future[Any] | None", what: Callable[[], Any]) -> None:
        if future is not None and not future.set_running_or_notify_cancel():
            return
        try:
            result = what()
        except Exception as error:  # of a call that nobody waits for, only the log can tell
            if future is None:
                log.exception("what was done ahead has failed")
            else:
                future.set_exception(error)
            return
        if future is not None:
            future.set_result(result)
