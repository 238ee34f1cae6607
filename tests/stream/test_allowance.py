"""Work beside the stream: within its share, and behind everything else."""

import os
import threading
import time

import pytest

from narrowcast.core.errors import UsageError
from narrowcast.stream import allowance as giving_way
from narrowcast.stream.allowance import Allowance, give_way, made_to_give_way


def worked(allowance: Allowance, *, for_s: float) -> float:
    began_s = time.perf_counter()
    allowance.begin()
    time.sleep(for_s)
    allowance.rest()
    return time.perf_counter() - began_s


def test_half_a_core_rests_as_long_as_it_worked() -> None:
    allowance = Allowance(0.5, num_threads=1)
    took_s = worked(allowance, for_s=0.1)  # a busy machine may let it sleep longer; the rest is as long then
    assert allowance.rested_s == pytest.approx(took_s / 2, rel=0.3)
    assert took_s >= 0.19


def test_a_core_for_one_thread_needs_no_rest() -> None:
    allowance = Allowance(1.0, num_threads=1)
    worked(allowance, for_s=0.01)
    assert allowance.rested_s == 0


def test_without_a_limit_there_is_no_rest() -> None:
    allowance = Allowance(0, num_threads=64)
    worked(allowance, for_s=0.01)
    assert allowance.rested_s == 0


def test_a_rest_ends_when_the_stream_ends() -> None:
    allowance = Allowance(0.001, num_threads=1)
    threading.Timer(0.05, allowance.stop).start()
    assert worked(allowance, for_s=0.02) < 5


@pytest.fixture
def gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_way, "YIELD", 15)


def test_a_thread_that_gives_way_is_nicer_and_no_other_thread_is(gives_way: None) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before, found = niceness(), []

    def work() -> None:
        give_way()
        found.append(niceness())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] > before or before == 19
    assert niceness() == before


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has such a policy")
def test_a_thread_that_gives_way_runs_where_a_processor_is_idle(gives_way: None) -> None:
    found = made_to_give_way(lambda: os.sched_getscheduler(threading.get_native_id()))
    assert found == (os.SCHED_IDLE if len(os.sched_getaffinity(0)) > 1 else os.SCHED_OTHER)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_it_rests_where_it_says_so() -> None:
    allowance = Allowance(0.01, num_threads=1)
    allowance.begin()
    time.sleep(0.01)
    resting = threading.Thread(target=allowance.rest)
    resting.start()
    while not allowance.is_resting:
        time.sleep(0.001)
    allowance.stop()
    resting.join()
    assert not allowance.is_resting


def test_what_making_raises_is_raised_here() -> None:
    def fail() -> None:
        raise UsageError("no such teacher")

    assert made_to_give_way(lambda: 3) == 3
    with pytest.raises(UsageError, match="no such teacher"):
        made_to_give_way(fail)
