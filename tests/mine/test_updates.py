"""Updates: what is set aside is never taught, several categories share one, and a simulation follows what wins."""

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.mine.features import normalised
from narrowcast.mine.methods import METHODS
from narrowcast.mine.miner import Miner
from narrowcast.mine.rounds import mine, mine_together
from narrowcast.mine.simulate import SimulateConfig, Truth, simulate
from narrowcast.mine.simulate_updates import simulate_updates
from narrowcast.mine.updates import PSEUDO, UpdateConfig, update_features

NUM, DIM = 600, 12
NAMES = np.array(["owl", "heron", *["water"] * 18])[np.arange(NUM) % 20]  # 30 of each bird
ITEMS = [f"photo-{ix}" for ix in range(NUM)]
CONFIG = UpdateConfig(fraction=10.0, most_pseudo=50)


def features(strength: float, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(NUM, DIM))
    rows[:, 0] += strength * (NAMES == "owl")
    rows[:, 1] += strength * (NAMES == "heron")
    return normalised(rows)


class Learner:
    """Gives the same features whatever it is told, and remembers what that was."""

    def __init__(self, strength: float) -> None:
        self.strength, self.told = strength, []

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        self.told.append(labels)
        return features(self.strength, seed=1)


def miners() -> dict[str, Miner]:
    made = {}
    for name in ("owl", "heron"):
        made[name] = Miner(features(3.5), METHODS["tropel-rn100"], rng=np.random.default_rng(0))
        made[name].add(np.flatnonzero(name == NAMES)[:30], np.ones(30))
        made[name].add(np.flatnonzero(NAMES == "water")[:30], -np.ones(30))
        made[name].learn()
    return made


def test_labels_that_are_set_aside_are_not_taught() -> None:
    fit, given = Learner(8.0), miners()
    found = update_features(given, fit, items=ITEMS, config=CONFIG)
    labels = fit.told[0]
    assert labels.shape == (NUM, 2)
    for column, miner in zip(labels.T, given.values(), strict=True):
        aside = (miner.labels != 0) & (column == 0)
        assert 5 <= aside.sum() <= 27
        assert np.array_equal(column[~aside & (miner.labels != 0)], miner.labels[~aside & (miner.labels != 0)])
        assert (column == PSEUDO).sum() == 50
        assert (miner.labels[column == PSEUDO] == 0).all()
    assert found.promotion.is_promoted
    assert [one.category for one in found.promotion.categories] == ["owl", "heron"]
    assert not update_features(given, Learner(0.0), items=ITEMS, config=CONFIG).promotion.is_promoted


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(UsageError, match="features of 3 photos came back for a pool of 600"):
        update_features(miners(), lambda labels: features(3.5)[:3], items=ITEMS, config=CONFIG)
    nothing = {"owl": Miner(features(3.5), METHODS["default"], rng=np.random.default_rng(0), outside=features(3.5)[:1])}
    with pytest.raises(UsageError, match="no category has a positive label"):
        update_features(nothing, Learner(1.0), items=ITEMS, config=CONFIG)
    with pytest.raises(ConfigError, match="one_in must be at least 2"):
        UpdateConfig(one_in=1)


def test_side_by_side_is_as_alone_until_something_is_promoted() -> None:
    oracles = {name: (lambda ix, name=name: NAMES[ix] == name) for name in ("owl", "heron")}
    alone = {name: list(mine(miner, oracles[name], budget=40)) for name, miner in miners().items()}
    together = list(mine_together(miners(), oracles, budget=40))
    for name, reports in alone.items():
        assert [round_.rounds[name].num_found for round_ in together] == [report.num_found for report in reports]


def test_a_simulation_follows_what_wins_and_nothing_else() -> None:
    truth = Truth(NAMES.tolist(), np.arange(NUM) % 3 == 0)
    config = SimulateConfig(num_labels=60)
    options = {"strategies": ["tropel-rn100"], "categories": ["owl", "heron"], "seeds": [0], "config": config}
    frozen = {curve.category: curve for curve in simulate(features(3.5), truth, **options)}

    def run(strength: float) -> dict[str, object]:
        curves = simulate_updates(
            features(3.5),
            truth,
            ITEMS,
            strategy="tropel-rn100",
            categories=["owl", "heron"],
            seeds=[0],
            config=config,
            fit_of=lambda seed: Learner(strength),
            updates=CONFIG,
        )
        return {curve.category: curve for curve in curves}

    for category, curve in run(0.0).items():
        assert (curve.strategy, curve.ap, curve.found) == (
            "tropel-rn100+updates",
            frozen[category].ap,
            frozen[category].found,
        )
    better = run(8.0)
    for category, curve in better.items():
        assert curve.ap[:5] == frozen[category].ap[:5]
        assert curve.ap[5] > frozen[category].ap[5] + 0.1
        assert [note["labels"] for note in curve.updates if note["is_promoted"]] == [50]
