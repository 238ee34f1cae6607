"""Teacher calls are divided by need: never more than there are, never more than one wants while others want."""

import itertools

import numpy as np
import pytest

from narrowcast.fleet.budget import BURST, Need, Purse, fairness, share_calls, weight_of


def need(wants: float, accuracy: float | None = 0.8, fall: float = 0.0) -> Need:
    return Need(wants_per_s=wants, target=0.8, accuracy=accuracy, fall=fall)


def drawn(rng: np.random.Generator, num: int) -> list[Need]:
    return [need(float(rng.uniform(0, 4)), float(rng.uniform(0.2, 1)), float(rng.uniform(0, 0.3))) for _ in range(num)]


def bisected(needs: list[Need], calls_per_s: float, least_share: float) -> list[float]:
    """The slow, obvious way: the level of the water is found by halving."""
    floors = [min(one.wants_per_s, least_share * calls_per_s / len(needs)) for one in needs]
    if sum(one.wants_per_s for one in needs) <= calls_per_s:
        spare = calls_per_s - sum(one.wants_per_s for one in needs)
        return [one.wants_per_s + spare / len(needs) for one in needs]

    def rates(level: float) -> list[float]:
        return [min(one.wants_per_s, floor + level * weight_of(one)) for one, floor in zip(needs, floors, strict=True)]

    low, high = 0.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(rates(middle)) < calls_per_s else (low, middle)
    return rates(low)


@pytest.mark.parametrize("calls_per_s", [0.5, 5.0, 12.0, 100.0])
@pytest.mark.parametrize("least_share", [0.0, 0.25, 1.0])
def test_the_shares_are_those_of_rising_water(rng: np.random.Generator, calls_per_s: float, least_share: float) -> None:
    for _ in range(20):
        needs = drawn(rng, 9)
        found = share_calls(needs, calls_per_s=calls_per_s, least_share=least_share)
        assert found == pytest.approx(bisected(needs, calls_per_s, least_share), abs=1e-9)
        assert sum(found) == pytest.approx(calls_per_s)


def test_who_is_worse_off_gets_more_and_nobody_nothing() -> None:
    needs = [need(4, 0.8), need(4, 0.6), need(4, 0.8, fall=0.3)]
    calm, low, falling = share_calls(needs, calls_per_s=3, least_share=0.25)
    assert falling > low > calm >= 0.25


def test_what_one_does_not_want_goes_to_the_others() -> None:
    assert share_calls([need(0.1), need(9), need(9)], calls_per_s=4.1, least_share=0) == pytest.approx([0.1, 2, 2])


def test_without_a_limit_there_is_none() -> None:
    assert share_calls([need(3), need(5)], calls_per_s=0, least_share=0.5) == [float("inf")] * 2
    assert share_calls([], calls_per_s=3, least_share=0.5) == []


@pytest.mark.parametrize("rate", [0.3, 1.0, 2.5])
def test_a_purse_pays_for_its_rate_and_a_burst(rate: float) -> None:
    purse = Purse(rate)
    paid = sum(purse.take(ix / 25) for ix in range(25 * 40))
    assert rate * 40 - 1 <= paid <= rate * 40 + BURST
    assert purse.num_refused == 1000 - paid


def test_a_purse_saves_no_more_than_a_burst() -> None:
    purse = Purse(1.0)
    assert list(itertools.takewhile(bool, (purse.take(1000.0) for _ in range(9)))) == [True] * int(BURST)


def test_fairness_is_that_of_jain() -> None:
    assert fairness([2.0, 2.0, 2.0]) == 1.0
    assert fairness([6.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert fairness([]) == 1.0
