"""A worker lets go of its cameras before anybody else may take them."""

from narrowcast.fleet.lease import LETTING_GO_S, Contact, Lease


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_call_of_an_earlier_turn_begins_nothing_again() -> None:
    clock = Clock()
    lease = Lease(10.0, clock=clock)
    clock.now = 9.0
    assert not lease.has_run_out
    assert lease.renew(0)
    clock.now = 20.0
    assert lease.has_run_out
    assert not lease.renew(0)
    assert lease.renew(1)
    assert not lease.has_run_out
    clock.now = 29.0
    assert not lease.has_run_out


def test_a_worker_is_given_up_after_it_has_let_go() -> None:
    clock = Clock()
    lease, contact = Lease(30.0, clock=clock), Contact(30.0, clock=clock)
    assert contact.is_given_up  # it was never told anything
    contact.answered()
    assert not contact.is_given_up
    clock.now = 100.0
    assert lease.renew(contact.call())
    contact.lost()
    given_up = None
    for _ in range(100):
        clock.now += 1.0
        if contact.is_given_up:
            given_up = given_up or clock.now
            assert lease.has_run_out
    assert given_up is not None
    assert given_up > 130.0 + LETTING_GO_S
    contact.answered()
    assert lease.renew(contact.call())  # of a later turn


def test_a_worker_that_is_slow_to_answer_is_told_the_same_turn() -> None:
    contact = Contact(30.0, clock=Clock())
    contact.answered()
    assert contact.call() == contact.call() == 0
    contact.lost()
    contact.lost()
    contact.answered()
    assert contact.call() == 1
