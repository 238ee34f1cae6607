import threading
import time
from collections.abc import Iterator

import pytest

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.video.prefetch import prefetch
from narrowcast.video.source import open_source

from .conftest import Film


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_until(is_so) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_items_come_in_order_and_the_thread_ends() -> None:
    with prefetch(range(100), max_items=3) as items:
        assert list(items) == list(range(100))
        assert list(items) == []
    assert threads() == []


def test_never_more_items_than_asked_for_are_made_ahead() -> None:
    made, taken = [], []

    def source() -> Iterator[int]:
        for item in range(50):
            made.append(item)
            yield item

    with prefetch(source(), max_items=4) as items:
        wait_until(lambda: len(made) == 4)
        for item in items:
            taken.append(item)
            time.sleep(0.0005)
            assert len(made) - len(taken) <= 4
    assert taken == list(range(50))


def test_a_wish_to_stop_is_heard_while_no_item_comes() -> None:
    silence, wishes = threading.Event(), []

    def source() -> Iterator[int]:
        yield from range(3)
        silence.wait(30)

    with prefetch(source(), should_stop=lambda: bool(wishes)) as items:
        for item in items:
            wishes.extend([item] * (item == 2))
        silence.set()
    assert wishes == [2]
    assert threads() == []


def test_an_error_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise SourceError("camera: gone")

    taken = []
    with prefetch(source(), max_items=2) as items, pytest.raises(SourceError, match="camera: gone"):
        taken.extend(items)
    assert taken == [0, 1, 2]
    assert threads() == []


def test_the_thread_stops_when_the_block_raises() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    def interrupted() -> None:
        with prefetch(endless(), max_items=2) as items:
            next(items)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threads() == []


def test_the_thread_stops_when_nothing_is_taken() -> None:
    with prefetch(range(10), max_items=1):
        pass
    assert threads() == []


def test_closing_twice_and_before_the_start_is_harmless() -> None:
    items = prefetch([1, 2])
    items.close()
    with prefetch([1, 2]) as items:
        items.close()
        assert list(items) == []


def test_a_video_is_decoded_ahead_and_can_be_left_early(film: Film) -> None:
    path = film("a.mp4", num_frames=30)
    with open_source(path) as source, prefetch(source, max_items=2) as frames:
        assert [next(frames).index for _ in range(5)] == [0, 1, 2, 3, 4]
    with open_source(path) as source, prefetch(source, max_items=2) as frames:
        assert [frame.index for frame in frames] == list(range(30))


def test_max_items_below_one_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="max_items is 0"):
        prefetch([], max_items=0)
