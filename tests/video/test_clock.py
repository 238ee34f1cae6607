from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from narrowcast.video.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(period_s=Fraction(1, 25))


def times_of(clock: Clock, *stamps: float | Fraction | None) -> list[Fraction]:
    return [clock.time_of(None if stamp is None else Fraction(stamp)) for stamp in stamps]


def test_time_begins_at_the_first_stamp_and_stays_exact(clock: Clock) -> None:
    stamps = [Fraction(100) + k * Fraction(1001, 30000) for k in range(5)]
    assert times_of(clock, *stamps) == [k * Fraction(1001, 30000) for k in range(5)]


def test_missing_stamps_count_on_at_the_nominal_rate(clock: Clock) -> None:
    assert times_of(clock, None, None, None) == [0, Fraction(1, 25), Fraction(2, 25)]


def test_a_repeated_stamp_moves_on_a_little_and_the_next_is_true_again(clock: Clock) -> None:
    assert times_of(clock, 0, 1, 1, 2) == [0, 1, Fraction(1001, 1000), 2]


def test_a_jump_backwards_begins_a_new_time_line(clock: Clock) -> None:
    assert times_of(clock, 50, 51, 0, 1) == [0, 1, Fraction(26, 25), Fraction(51, 25)]


def test_a_jump_forwards_is_true_time(clock: Clock) -> None:
    assert times_of(clock, 0, 3600) == [0, 3600]


def test_a_jump_forwards_that_nobody_waited_for_is_a_clock_that_was_set(clock: Clock) -> None:
    assert clock.time_of(Fraction(0), waited_s=0.0) == 0
    assert clock.time_of(Fraction(3600), waited_s=0.5) == Fraction(1, 2)
    assert clock.has_jumped
    assert clock.time_of(Fraction(3601), waited_s=1.0) == Fraction(3, 2)
    assert not clock.has_jumped
    assert clock.time_of(Fraction(3661), waited_s=60.0) == Fraction(123, 2)  # somebody did


def test_restart_goes_on_after_the_gap(clock: Clock) -> None:
    times_of(clock, 5, 6)
    clock.restart(gap_s=Fraction(10))
    assert times_of(clock, 900, 901) == [11, 12]


def test_times_always_increase_whatever_the_stamps(clock: Clock, rng: np.random.Generator) -> None:
    stamps = [None if rng.random() < 0.2 else Fraction(int(stamp), 100) for stamp in rng.integers(-500, 500, 300)]
    times = times_of(clock, *stamps)
    assert all(early < late for early, late in pairwise(times))
