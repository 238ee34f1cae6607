"""The worker: one thing at a time, who waits goes first, and what is done ahead makes way and comes again."""

import threading
from collections.abc import Iterator

import pytest

from narrowcast.web.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("test")
    yield made
    made.close()


def test_who_waits_stops_what_is_done_ahead_and_that_comes_again(worker: Worker) -> None:
    told: list[str] = []
    has_begun, is_done = threading.Event(), threading.Event()

    def long() -> None:
        told.append("begun")
        has_begun.set()
        while told.count("begun") < 2:
            worker.pause()
        is_done.set()

    worker.ahead("key", long)
    assert has_begun.wait(10)
    assert worker.call(lambda: told.append("awaited") or 7).result(10) == 7
    assert is_done.wait(10)
    assert told == ["begun", "awaited", "begun"]


def test_what_is_awaited_is_never_stopped(worker: Worker) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def long() -> str:
        has_begun.set()
        may_end.wait(10)
        worker.pause()
        return "whole"

    first = worker.call(long)
    assert has_begun.wait(10)
    second = worker.call(lambda: "second")
    may_end.set()
    assert (first.result(10), second.result(10)) == ("whole", "second")


def test_of_the_same_key_only_the_newest_is_done(worker: Worker) -> None:
    told: list[int] = []
    has_begun, may_end, is_done = threading.Event(), threading.Event(), threading.Event()
    worker.call(lambda: (has_begun.set(), may_end.wait(10)))
    assert has_begun.wait(10)
    for number in range(3):
        worker.ahead("key", lambda n=number: told.append(n))
    worker.ahead("last", is_done.set)
    may_end.set()
    assert is_done.wait(10)
    assert told == [2]


def test_errors_go_to_who_waits_and_others_to_the_log(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    is_done = threading.Event()

    def wrong() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.call(wrong).result(10)
    worker.ahead("a", wrong)
    worker.ahead("b", is_done.set)
    assert is_done.wait(10)
    assert "what was done ahead has failed" in caplog.text


def test_a_closed_worker_ends_long_work_and_takes_no_more() -> None:
    worker, has_begun = Worker("test"), threading.Event()

    def endless() -> None:
        has_begun.set()
        while True:
            worker.pause()

    worker.ahead("key", endless)
    assert has_begun.wait(10)
    worker.close()
    with pytest.raises(RuntimeError, match="closed"):
        worker.call(lambda: None)
