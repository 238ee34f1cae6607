"""The memory of the last teacher frames: bounded, seeded, and the same after it was written and read."""

import json
from collections import Counter

import numpy as np
import pytest

from narrowcast.stream.learner import Sample
from narrowcast.stream.replay import Replay


def sample(value: int, *, height: int = 4) -> Sample:
    plane = np.full((height, 6), value, np.uint8)
    return Sample(np.full((height, 6, 3), value, np.uint8), plane, plane)


def filled(num: int, *, size: int = 4, seed: int = 0) -> Replay:
    replay = Replay(size, seed=seed)
    for value in range(num):
        replay.add(sample(value))
    return replay


def drawn(replay: Replay, num: int) -> list[int]:
    return [int(replay.draw().labels[0, 0]) for _ in range(num)]


def test_the_oldest_is_forgotten_first() -> None:
    replay = filled(10)
    assert len(replay) == 4
    assert set(drawn(replay, 100)) == {6, 7, 8, 9}


def test_a_memory_of_nothing_stays_empty() -> None:
    assert not filled(5, size=0)


def test_draws_are_uniform() -> None:
    counts = Counter(drawn(filled(4), 4000))
    assert all(counts[value] == pytest.approx(1000, abs=137) for value in range(4))  # 5 standard deviations


def test_the_seed_decides_the_draws() -> None:
    assert drawn(filled(4, seed=1), 50) == drawn(filled(4, seed=1), 50)
    assert drawn(filled(4, seed=1), 50) != drawn(filled(4, seed=2), 50)


def test_it_goes_on_as_if_it_had_never_been_written() -> None:
    replay = filled(7)
    drawn(replay, 5)
    tensors, state = replay.tensors(), json.loads(json.dumps(replay.state()))  # as in a checkpoint's header
    again = Replay(4, seed=99)
    again.load(tensors, state)
    assert drawn(again, 50) == drawn(replay, 50)
    again.add(sample(7))
    replay.add(sample(7))
    assert drawn(again, 50) == drawn(replay, 50)


def test_samples_of_several_sizes_come_back() -> None:
    replay = Replay(2, seed=0)
    replay.add(sample(1, height=4))
    replay.add(sample(2, height=9))
    again = Replay(2, seed=0)
    again.load(replay.tensors(), replay.state())
    assert {again.draw().labels.shape for _ in range(20)} == {(4, 6), (9, 6)}
