"""One at a time, in the order of asking."""

import threading
import time

from narrowcast.fleet.turns import Turns


def test_threads_take_turns_in_order() -> None:
    turns, seen, inside = Turns(), [], []

    def work(name: int) -> None:
        for _ in range(5):
            with turns:
                inside.append(1)
                assert len(inside) == 1
                time.sleep(0.002)
                seen.append(name)
                inside.pop()

    with turns:
        threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
        for thread in threads:
            thread.start()
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted([0, 1, 2] * 5)
    assert seen[:6] == [0, 1, 2] * 2


def test_a_turn_can_be_given_away() -> None:
    turns, done = Turns(), threading.Event()

    def other() -> None:
        with turns:
            done.set()

    with turns:
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.05)
        with turns.given_away():
            assert done.wait(5)
    thread.join()
