"""Feature updates (Algorithm 2, lines 19 and 20): labels of categories to one matrix, new features, a judgement.

Nothing here knows how features are learned: that is a `FitFeatures`. What is learned from and what is set aside to
judge with is decided here, so that a `FitFeatures` cannot see what it is judged on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int8, Shaped

from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.mine.features import normalised
from narrowcast.mine.miner import NEGATIVE, POSITIVE, Miner, PoolFacts
from narrowcast.mine.negatives import bottom_half
from narrowcast.mine.promotion import ONE_IN, Promotion, Trial, judge, set_aside

PSEUDO = -2  # a negative that nobody gave


class FitFeatures(Protocol):
    """Learns features of a pool from labels: `fit(labels) -> features`.

    Labels are over the pool: 1 positive, −1 negative, −2 pseudo-negative, 0 unknown; several categories at once are
    columns, and a photo without a label in a column must not count there (section 4.3.1). It starts from where it was
    left. Features come back a row a photo, of any width.
    """

    def __call__(self, labels: Shaped[np.ndarray, "pool categories"]) -> Float[np.ndarray, "pool dim"]: ...


def beside(old: Float[np.ndarray, "pool dim"], fit: FitFeatures) -> FitFeatures:
    """What `fit` learns beside features that stay, each half of length 1; ours, see benchmarks/mining_updates.py."""

    def both(labels: Shaped[np.ndarray, "pool categories"]) -> Float[np.ndarray, "pool dim2"]:
        return np.concatenate([normalised(np.asarray(old)), normalised(np.asarray(fit(labels)))], 1)

    return both


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateConfig:
    """What features are learned from.

    Attributes:
        fraction: f_a of section 4.3.1: pseudo-negatives are f_a(|L_p| + 0.1|L_n|) of the lower half of the ranking.
        most_pseudo: of a category, at most.
        one_in: every so many-th label is set aside; ours.
        seed: of the pseudo-negatives.
    """

    fraction: float = 100.0
    most_pseudo: int = 1000  # ours, as in `methods.MOST_PSEUDO`
    one_in: int = ONE_IN
    seed: int = 0

    def __post_init__(self) -> None:
        if self.fraction < 0 or self.most_pseudo < 0 or self.one_in < 2:
            raise ConfigError("[update] fraction and most_pseudo must not be negative, one_in must be at least 2")


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """New features, whether they are better, and what they were learned from."""

    features: Float[np.ndarray, "pool dim"]
    promotion: Promotion
    labels: Int8[np.ndarray, "pool categories"]


def update_features(
    miners: Mapping[str, Miner],
    fit: FitFeatures,
    *,
    items: Sequence[str],
    config: UpdateConfig,
    facts: PoolFacts | None = None,
) -> Update:
    """Learn features from the labels of all `miners` that are not set aside, and judge them on those that are.

    Args:
        items: the content identity of each photo, which says what is set aside.
        facts: of the features that the miners have, where they are known.

    Raises:
        UsageError: no category has a positive to learn from.
    """
    asides = {name: set_aside(name, miner.labels, items, one_in=config.one_in) for name, miner in miners.items()}
    rng = np.random.default_rng(config.seed)
    columns = [taught(miner, asides[name], config, rng) for name, miner in miners.items()]
    labels = np.stack(columns, 1)
    if not (labels == POSITIVE).any():
        raise UsageError("no category has a positive label to learn features from; label some photos")
    features = normalised(np.asarray(fit(labels)))
    old = next(iter(miners.values())).features
    if len(features) != len(old):
        raise UsageError(f"features of {len(features)} photos came back for a pool of {len(old)}")
    trials = [
        Trial(name, miner.method, miner.labels, asides[name], column != 0)
        for (name, miner), column in zip(miners.items(), columns, strict=True)
    ]
    return Update(features, judge(trials, old=old, new=features, old_facts=facts), labels)


def taught(
    miner: Miner, is_aside: Bool[np.ndarray, " pool"], config: UpdateConfig, rng: np.random.Generator
) -> Int8[np.ndarray, " pool"]:
    """One category's column: its labels that are not set aside, and pseudo-negatives (line 14)."""
    column = np.where(is_aside | ~np.isin(miner.labels, (POSITIVE, NEGATIVE)), 0, miner.labels).astype(np.int8)
    pseudo = bottom_half(config.fraction, most=config.most_pseudo)(miner.known(), rng)
    column[pseudo.pool_ix] = PSEUDO
    return column
