"""Bursts are found along the order of paths, and do not leave their folder."""

import numpy as np

from narrowcast.mine.bursts import bursts
from narrowcast.mine.features import normalised


def test_photos_beside_each_other_that_look_alike_are_one_burst(rng: np.random.Generator) -> None:
    scenes = rng.normal(size=(5, 32))
    shown = [0, 1, 1, 1, 2, 3, 4, 3, 3, 0]  # photo 6 lies in between
    paths = [f"a/{ix:02}.jpg" for ix in range(9)] + ["b/00.jpg"]
    rows = normalised(scenes[shown] + 0.01 * rng.normal(size=(10, 32)))
    order = rng.permutation(10)  # indexed in another order
    found = bursts(rows[order].astype(np.float16), [paths[ix] for ix in order])
    assert [[paths[order[ix]] for ix in burst] for burst in found] == [
        ["a/01.jpg", "a/02.jpg", "a/03.jpg"],
        ["a/05.jpg", "a/06.jpg", "a/07.jpg", "a/08.jpg"],
    ]


def test_a_folder_ends_a_burst(rng: np.random.Generator) -> None:
    rows = normalised(np.ones((4, 8)))
    assert [burst.tolist() for burst in bursts(rows, ["a/1", "a/2", "b/1", "c/1"])] == [[0, 1]]
    assert bursts(rows[:0], []) == []
