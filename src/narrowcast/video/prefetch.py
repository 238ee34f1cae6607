"""Decoding ahead: a bounded number of items made in a thread while the caller works on the ones before."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar, final

from narrowcast.core.errors import UsageError

Item = TypeVar("Item")
POLL_S = 0.2  # ours: how long a wish to stop may go unnoticed while no item comes


def prefetch(
    items: Iterable[Item], *, max_items: int = 8, should_stop: Callable[[], bool] = lambda: False
) -> "Prefetch[Item]":
    """The same items in the same order, made ahead of time in a thread; use it in a `with` block.

    Args:
        items: iterated in the thread, and nowhere else until the block ends.
        max_items: items that wait at most; one 1280x720 frame is 2.8 MB.
        should_stop: asked now and then while the caller waits for an item; when it says yes there are no more.

    Raises:
        UsageError: `max_items` is below 1.

    Example:
        with open_source("city.mp4") as source, prefetch(source) as frames:
            for frame in frames: ...
    """
    if max_items < 1:
        raise UsageError(f"max_items is {max_items}; give 1 or more")
    return Prefetch(items, max_items=max_items, should_stop=should_stop)


@final
class Prefetch(Generic[Item]):
    """See `prefetch`. An error of the thread is raised here, after the items that came before it."""

    def __init__(self, items: Iterable[Item], *, max_items: int, should_stop: Callable[[], bool]) -> None:
        self._items = items
        self._max_items = max_items
        self._should_stop = should_stop
        self._ready: deque[Item] = deque()
        self._change = threading.Condition()
        self._is_stopping = False
        self._is_done = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._produce, name="prefetch", daemon=True)

    def __enter__(self) -> "Prefetch[Item]":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._change:
            while not self._change.wait_for(lambda: self._ready or self._is_done, timeout=POLL_S):
                if self._should_stop():
                    raise StopIteration
            if self._ready:
                item = self._ready.popleft()
                self._change.notify_all()
                return item
            if self._error is not None:
                error, self._error = self._error, None
                raise error
        raise StopIteration

    def close(self) -> None:
        """Stop the thread after the item in its hands, wait for it, and drop what is ready; may be called twice."""
        with self._change:
            self._is_stopping = True
            self._change.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._ready.clear()

    def _produce(self) -> None:
        try:
            iterator = iter(self._items)
            while self._has_room() and self._put_next(iterator):
                pass
        except BaseException as error:  # whatever it is belongs to the consumer, who would wait for ever otherwise
            self._error = error
        finally:
            with self._change:
                self._is_done = True
                self._change.notify_all()

    def _has_room(self) -> bool:
        """Wait for room before an item is made, so that never more than `max_items` exist; False to stop."""
        with self._change:
            self._change.wait_for(lambda: self._is_stopping or len(self._ready) < self._max_items)
            return not self._is_stopping

    def _put_next(self, iterator: Iterator[Item]) -> bool:
        for item in iterator:
            with self._change:
                self._ready.append(item)
                self._change.notify_all()
            return True
        return False
