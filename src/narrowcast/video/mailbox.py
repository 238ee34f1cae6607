"""Frames as they arrive: a small waiting room, with a named rule for when it is full."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, final

from narrowcast.core.errors import UsageError
from narrowcast.core.frames import Frame

WhenLate = Literal["wait", "drop-oldest", "drop-newest"]
ROOM = 2  # frames that wait; ours: one more than a hiccup needs, and a frame never waits for more than two others
POLL_S = 0.2  # ours: how long a wish to stop may go unnoticed while no frame comes


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that has come.

    Attributes:
        arrived_s: when, on `time.monotonic`'s clock: decoded, or when its turn had come.
    """

    frame: Frame
    arrived_s: float


@final
class Mailbox:
    """Arrivals of `frames`, which are read in a thread; use it in a `with` block.

    Args:
        when_late: what happens to a frame that finds the room full: the source has to "wait"; the frame that has waited
            longest is dropped ("drop-oldest"); or the one that has just come is ("drop-newest").
        room: frames that wait at most.
        should_stop: asked now and then while the caller waits for a frame; when it says yes there are no more.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        *,
        when_late: WhenLate,
        room: int = ROOM,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if room < 1:
            raise UsageError(f"room is {room}; give 1 or more")
        self.num_dropped = 0
        self._frames, self._when_late, self._room, self._should_stop = frames, when_late, room, should_stop
        self._waiting: deque[tuple[Frame, float]] = deque()
        self._change = threading.Condition()
        self._has_gap = False  # a dropped frame was the first after a gap: the one behind it is, now
        self._is_stopping = self._is_done = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="mailbox", daemon=True)

    def __enter__(self) -> "Mailbox":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        with self._change:
            self._is_stopping = True
            self._change.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[Arrival]:
        return self

    def __next__(self) -> Arrival:
        with self._change:
            while not self._change.wait_for(lambda: self._waiting or self._is_done, timeout=POLL_S):
                if self._should_stop():
                    raise StopIteration
            if not self._waiting:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopIteration
            frame, arrived_s = self._waiting.popleft()
            if self._when_late == "drop-oldest":
                frame = self._marked(frame)
            self._change.notify_all()
            return Arrival(frame, arrived_s)

    def _marked(self, frame: Frame) -> Frame:
        """`frame`, told of a gap that a dropped one would have told of."""
        has_gap, self._has_gap = self._has_gap, False
        if has_gap and not frame.is_after_gap:
            return replace(frame, is_after_gap=True)
        return frame

    def _read(self) -> None:
        try:
            for frame in self._frames:
                if not self._take_in(frame, time.monotonic()):
                    return
        except BaseException as error:  # belongs to the caller, who would wait for ever otherwise
            self._error = error
        finally:
            with self._change:
                self._is_done = True
                self._change.notify_all()

    def _take_in(self, frame: Frame, arrived_s: float) -> bool:
        """Put `frame` into the room, by the rule; False to stop."""
        with self._change:
            if self._when_late == "wait":
                self._change.wait_for(lambda: self._is_stopping or len(self._waiting) < self._room)
            elif len(self._waiting) >= self._room:
                self._drop(frame)
                if self._when_late == "drop-newest":
                    return not self._is_stopping
            self._waiting.append((self._marked(frame) if self._when_late == "drop-newest" else frame, arrived_s))
            self._change.notify_all()
            return not self._is_stopping

    def _drop(self, newest: Frame) -> None:
        gone = newest if self._when_late == "drop-newest" else self._waiting.popleft()[0]
        self.num_dropped += 1
        self._has_gap = self._has_gap or gone.is_after_gap
