"""The benchmark with feature updates: categories are mined side by side and share what is learned (section 4.3.1)."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import final

import numpy as np
from jaxtyping import Float, Shaped

from narrowcast.mine.features import normalised
from narrowcast.mine.methods import METHODS
from narrowcast.mine.miner import POSITIVE, Method, Miner, PoolFacts
from narrowcast.mine.promotion import Promotion
from narrowcast.mine.rounds import mine_together
from narrowcast.mine.simulate import Curve, SimulateConfig, Truth, first_positives, score_curve
from narrowcast.mine.updates import FitFeatures, UpdateConfig, update_features

SUFFIX = "+updates"  # of a strategy's name


def as_judged(promotion: Promotion) -> Promotion:
    """What was found decides."""
    return promotion


def simulate_updates(
    features: Float[np.ndarray, "pool dim"],
    truth: Truth,
    items: Sequence[str],
    *,
    strategy: str,
    categories: Sequence[str],
    seeds: Sequence[int],
    config: SimulateConfig,
    fit_of: Callable[[int], FitFeatures],
    updates: UpdateConfig,
    queries: int = 5,
    decide: Callable[[Promotion], Promotion] = as_judged,
    done: Mapping[tuple[str, str, int], Curve] | None = None,
) -> Generator[Curve, None, None]:
    """The curves of all categories, seed after seed, from the same positives as `simulate`; those in `done` are kept.

    Args:
        features: of the whole pool, normalised, to begin with.
        items: the identity of each photo, which says what is set aside.
        fit_of: what learns, anew for each seed; it sees labels of the whole pool, those held out as unknown.
        queries: Q: batches between two updates.
        decide: whether to follow a judgement.
    """
    known, name = done or {}, strategy + SUFFIX
    facts = None
    for seed in seeds:
        before = [known.get((name, category, seed)) for category in categories]
        if all(curve is not None for curve in before):
            yield from (curve for curve in before if curve is not None)
            continue
        facts = facts or PoolFacts(features[~truth.is_test])
        side = _Side(features, truth, facts, METHODS[strategy], categories, config, seed)
        update = side.updates(fit_of(seed), items, replace(updates, seed=seed), decide)
        yield from side.run(name, update, queries)


@final
class _Side:
    """Categories of one seed, side by side."""

    def __init__(
        self,
        features: Float[np.ndarray, "pool dim"],
        truth: Truth,
        facts: PoolFacts,
        method: Method,
        categories: Sequence[str],
        config: SimulateConfig,
        seed: int,
    ) -> None:
        self.searched, self.tested = np.flatnonzero(~truth.is_test), np.flatnonzero(truth.is_test)
        self.truth, self.config, self.seed, self.num_rows = truth, config, seed, len(features)
        self.test_features = features[self.tested].astype(np.float32)
        own = features[self.searched].astype(np.float32)
        self.miners: dict[str, Miner] = {}
        self.left: dict[str, int] = {}
        for category in categories:
            is_positive = truth.is_positive(category)[self.searched]
            start = first_positives(is_positive, num=config.num_seeds, seed=seed)
            miner = Miner(own, method, rng=np.random.default_rng([seed, 1]), facts=facts)
            miner.add(start, np.full(len(start), POSITIVE))
            self.miners[category], self.left[category] = miner, int(is_positive.sum()) - len(start)

    def updates(
        self,
        fit: FitFeatures,
        items: Sequence[str],
        config: UpdateConfig,
        decide: Callable[[Promotion], Promotion],
    ) -> Callable[[], Promotion]:
        """What learns features for all categories, and gives them to the miners where they are promoted."""
        own_items = [items[int(ix)] for ix in self.searched]
        everything: list[np.ndarray] = []

        def fit_searched(labels: Shaped[np.ndarray, "pool c"]) -> Float[np.ndarray, "pool dim"]:
            whole = np.zeros((self.num_rows, labels.shape[1]), labels.dtype)
            whole[self.searched] = labels
            everything[:] = [normalised(np.asarray(fit(whole)))]
            return everything[0][self.searched]

        def update() -> Promotion:
            found = update_features(self.miners, fit_searched, items=own_items, config=config)
            promotion = decide(found.promotion)
            if promotion.is_promoted:
                facts = PoolFacts(found.features)
                self.test_features = everything[0][self.tested]
                for miner in self.miners.values():
                    miner.forget_features(found.features, facts=facts)
            return promotion

        return update

    def run(self, name: str, update: Callable[[], Promotion], queries: int) -> Generator[Curve, None, None]:
        """Mine everything to the end of the labels, then give the curves."""
        curves = {category: Curve(name, category, self.seed, [], [], [], [], []) for category in self.miners}
        labels = {category: self.truth.is_positive(category) for category in self.miners}
        for category, miner in self.miners.items():
            if miner.method.starts_with_model:
                miner.learn()
            score_curve(curves[category], 0, 0.0, self._scores(miner), labels[category][self.tested])
        oracles = {category: (lambda ix, truth=truth[self.searched]: truth[ix]) for category, truth in labels.items()}
        rounds = mine_together(
            self.miners, oracles, budget=self.config.num_labels, batch=self.config.batch, update=update, queries=queries
        )
        for report in rounds:
            for category, one in report.rounds.items():
                curve = curves[category]
                scores = one.model.scores(self.test_features)
                score_curve(
                    curve, one.num_labels, one.num_found / self.left[category], scores, labels[category][self.tested]
                )
                if report.update is not None:
                    curve.updates.append(_note(one.num_labels, report.update))
        yield from curves.values()

    def _scores(self, miner: Miner) -> np.ndarray:
        miner.scores  # noqa: B018 - the model that ranks exists from here on
        assert miner.model is not None
        return miner.model.scores(self.test_features)


def _note(num_labels: int, promotion: Promotion) -> dict[str, object]:
    """An update as the summary has it; NaN is null."""
    numbers = {name: getattr(promotion, name) for name in ("score", "score_before", "error")}
    told = {name: None if np.isnan(value) else round(value, 4) for name, value in numbers.items()}
    return {"labels": num_labels, "is_promoted": promotion.is_promoted, **told}
