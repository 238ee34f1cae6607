"""When a student learns and speaks: against a slow version that keeps every lesson."""

import numpy as np
import pytest

from narrowcast.stream.worth import MAX_PATIENCE, MEMORY, Worth

Lesson = tuple[float, float]  # accuracy of the student, and of the moved labels


def slowly(lessons: list[Lesson], *, trial: int, dearer: float, patience: int) -> list[str]:
    """The modes after each lesson, from the whole history each time."""
    modes, mode, wait, began, bad = [], "silent" if patience else "trial", patience, 0, 0
    for ix, (_, moved) in enumerate(lessons):
        if mode == "silent":
            bad += moved < 0.8
            if bad >= wait:
                mode, began = "trial", ix + 1
            modes.append(mode)
            continue
        heard = lessons[began : ix + 1]
        if len(heard) >= trial:
            weights = MEMORY ** np.arange(len(heard))[::-1]
            errors = [float(weights @ [1 - lesson[who] for lesson in heard]) for who in (0, 1)]
            if errors[0] * dearer > errors[1]:
                wait = min(MAX_PATIENCE, max(1, 2 * wait)) if mode == "trial" else wait
                mode, bad = "silent", 0
            elif mode == "trial":
                mode, wait = "speaking", patience
        modes.append(mode)
    return modes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("trial", "dearer", "patience"), [(3, 1.4, 2), (1, 1.0, 0), (4, 1.2, 5)])
def test_it_does_what_the_slow_version_does(seed: int, trial: int, dearer: float, patience: int) -> None:
    rng = np.random.default_rng(seed)
    moved = rng.uniform(0.4, 1, 120)
    lessons = list(zip(np.clip(moved + rng.normal(0.1, 0.15, 120), 0, 1), moved, strict=True))
    worth, modes = Worth(trial=trial, dearer=dearer, patience=patience), []
    for ix, (student, labels) in enumerate(lessons):
        resumed = Worth(trial=trial, dearer=dearer, patience=patience)
        resumed.load(worth.state())
        worth = resumed if ix % 7 == 0 else worth
        worth.add(student=student if worth.learns else None, moved=labels, is_enough=bool(labels >= 0.8))
        modes.append(worth.mode)
    assert modes == slowly(lessons, trial=trial, dearer=dearer, patience=patience)
    assert len(set(modes)) > 1


def test_without_trials_the_student_always_learns_and_speaks() -> None:
    worth = Worth(trial=0, dearer=1.4, patience=16)
    for _ in range(50):
        worth.add(student=0.1, moved=0.9, is_enough=False)
        assert worth.learns
        assert worth.speaks


def test_good_labels_are_never_tried_to_be_bettered() -> None:
    worth = Worth(trial=3, dearer=1.4, patience=2)
    for _ in range(50):
        worth.add(student=None, moved=0.9, is_enough=True)
    assert worth.mode == "silent"


def test_failed_trials_become_rare() -> None:
    worth = Worth(trial=2, dearer=1.4, patience=1)
    tried = 0
    for _ in range(1000):
        tried += worth.learns
        worth.add(student=0.5 if worth.learns else None, moved=0.5, is_enough=False)
    assert worth.patience == MAX_PATIENCE
    assert tried < 2 * 24
