"""The worker: one thing at a time, who waits goes first, and what is done ahead makes way and comes again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from narrowcast.web.label_pool import ON_ONE_CORE
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


def test_what_is_done_ahead_runs_inside_of_what_was_asked_for() -> None:
    """It is left again however the work ends, also where it makes way."""
    told: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        told.append("in")
        try:
            yield
        finally:
            told.append("out")

    worker = Worker("test", around_ahead=around)
    has_begun, is_done = threading.Event(), threading.Event()

    def long() -> None:
        has_begun.set()
        while told.count("in") < 2:
            worker.pause()
        is_done.set()

    worker.ahead("key", long)
    assert has_begun.wait(10)
    assert worker.call(lambda: told.copy()).result(10) == ["in", "out"]
    assert is_done.wait(10)
    worker.close()
    assert told == ["in", "out", "in", "out"]


def test_blas_has_one_thread_while_any_pool_ranks_ahead_and_its_own_number_after() -> None:
    """Two pools that overlapped would each have given back what they found: one of them the other's limit."""

    def threads() -> list[int]:
        return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        first, second = ON_ONE_CORE(), ON_ONE_CORE()
        first.__enter__()
        second.__enter__()
        assert set(threads()) == {1}
        first.__exit__(None, None, None)
        assert set(threads()) == {1}
        second.__exit__(None, None, None)
        assert threads() == before
