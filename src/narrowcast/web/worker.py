"""Two threads for all that takes long: what somebody waits for goes first, and stops what is only done ahead."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar, final

log = logging.getLogger(__name__)
NICE = 10  # on top of the program's own
MOST_REST_S = 2.0
Result = TypeVar("Result")
Around = Callable[[], AbstractContextManager[object]]


class Abandoned(Exception):
    """What was done ahead has made way; it is done again later."""


@final
class Worker:
    """Runs calls one after the other, never two at once.

    Args:
        around_ahead: what is done ahead runs inside of it.
    """

    def __init__(self, name: str, *, around_ahead: Around = nullcontext) -> None:
        self._around_ahead = around_ahead
        self._wake = threading.Condition()
        self._working = threading.Lock()
        self._awaited: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._num_awaited = 0  # with the one that waits for `_working`
        self._ahead: dict[object, Callable[[], object]] = {}
        self._is_closed = False
        self._threads = [
            threading.Thread(target=run, name=f"{name}-{kind}", daemon=True)
            for run, kind in ((self._run_awaited, "awaited"), (self._run_ahead, "ahead"))
        ]
        for thread in self._threads:
            thread.start()

    def call(self, what: Callable[[], Result]) -> "Future[Result]":
        """Run `what` before everything that is done ahead; its result."""
        future: Future[Result] = Future()
        with self._wake:
            if self._is_closed:
                raise RuntimeError("the worker is closed")
            self._awaited.append((future, what))
            self._num_awaited += 1
            self._wake.notify_all()
        return future

    def ahead(self, key: object, what: Callable[[], object]) -> None:
        """Run `what` when nobody waits for anything; of calls with the same key only the newest.

        It may be ended at every `pause` and begun again later.
        """
        with self._wake:
            self._ahead.pop(key, None)
            self._ahead[key] = what
            self._wake.notify_all()

    def pause(self) -> None:
        """To be called within long work now and then: ends what is done ahead where somebody waits.

        Raises:
            Abandoned: to be passed on.
        """
        if threading.current_thread() is self._threads[1] and (self._num_awaited or self._is_closed):
            raise Abandoned

    def close(self) -> None:
        """End after the call that runs; who waits for another is told."""
        with self._wake:
            self._is_closed = True
            self._ahead.clear()
            for future, _ in self._awaited:
                future.cancel()
            self._awaited.clear()
            self._num_awaited = 0
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(60)

    def _run_awaited(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._awaited or self._is_closed)
                if self._is_closed:
                    return
                future, what = self._awaited.popleft()
            with self._working:
                _answer(future, what)
            with self._wake:
                self._num_awaited = max(0, self._num_awaited - 1)
                self._wake.notify_all()

    def _run_ahead(self) -> None:
        with suppress(OSError):  # those who wait for an answer come first, whatever is computed; Linux knows threads
            here = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, here, min(19, os.getpriority(os.PRIO_PROCESS, here) + NICE))
        while True:
            with self._wake:
                self._wake.wait_for(lambda: (self._ahead and not self._num_awaited) or self._is_closed)
                if self._is_closed:
                    return
                key = next(iter(self._ahead))
                what = self._ahead.pop(key)
            began = time.monotonic()
            if not self._do_ahead(what):
                with self._wake:
                    if not self._is_closed:
                        self._ahead.setdefault(key, what)
                continue
            with self._wake:  # at most half of the time: what is done ahead comes again with the next label
                self._wake.wait_for(lambda: self._is_closed, min(MOST_REST_S, time.monotonic() - began))

    def _do_ahead(self, what: Callable[[], object]) -> bool:
        """Whether it came to an end, good or bad."""
        with self._working:
            try:
                with self._around_ahead():
                    what()
            except Abandoned:
                return False
            except Exception:  # nobody waits for it, so only the log can tell
                log.exception("what was done ahead has failed")
            return True


def _answer(future: "Future[Any]", what: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = what()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)
