"""The benchmark without people: a truth answers, and every method is scored on photos that were never searched."""

import csv
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Int64

from narrowcast.core.errors import ConfigError, SourceError, UsageError, did_you_mean
from narrowcast.metrics.ranking import average_precision, best_f1, binary_score
from narrowcast.mine.linear import centroid, fit_linear
from narrowcast.mine.methods import METHODS
from narrowcast.mine.miner import POSITIVE, Miner, PoolFacts
from narrowcast.mine.pool import NameIndex, Pool
from narrowcast.mine.rounds import mine

SUPERVISED = "fully-supervised"
SPLIT_SEED = 0  # of the split that the truth does not make itself
TEST_NAMES = ("test", "val", "valid", "validation", "held-out")


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateConfig:
    """Settings of a simulation.

    Attributes:
        num_labels: labels a run (L).
        batch: labels between two models (B).
        num_seeds: positives to start with.
        test_share: of each category, held out where the truth has no split; 0.3 as FACTS.
    """

    num_labels: int = 300
    batch: int = 10
    num_seeds: int = 5
    test_share: float = 0.3

    def __post_init__(self) -> None:
        for name in ("num_labels", "batch", "num_seeds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be positive")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"test_share = {self.test_share}: must be in (0, 1)")


@final
class Truth:
    """What every photo shows, and which photos are held out.

    Attributes:
        categories: of each pool_ix; "" where the truth says nothing.
        is_test: held out: never asked about, only scored.
    """

    def __init__(self, categories: Sequence[str], is_test: Bool[np.ndarray, " pool"]) -> None:
        self.categories, self.is_test = np.array(categories), is_test

    def names(self) -> list[str]:
        """All categories."""
        return sorted(set(self.categories.tolist()) - {""})

    def is_positive(self, category: str) -> Bool[np.ndarray, " pool"]:
        return self.categories == category


def read_truth(path: Path, pool: Pool, *, test_share: float) -> Truth:
    """The truth of `labels.csv`: path, category[, split]; without splits a share of every category is held out.

    Raises:
        SourceError: it cannot be read, lacks a column, or names no photo of the pool.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not rows or not {"path", "category"} <= set(rows[0]):
        raise SourceError(f"{path}: expected a header with path and category, and rows below it")
    index, found = NameIndex(pool), 0
    categories, is_test = [""] * len(pool), np.zeros(len(pool), bool)
    for row in rows:
        pool_ix = index.get(row["path"], start=path.absolute().parent)
        if pool_ix is not None:
            found += 1
            categories[pool_ix] = row["category"] or ""
            is_test[pool_ix] = (row.get("split") or "") in TEST_NAMES
    if not found:
        raise SourceError(f"{path}: none of its {len(rows)} paths is in {pool.path}, such as {rows[0]['path']}")
    if "split" not in rows[0]:
        is_test = held_out(categories, share=test_share)
    return Truth(categories, is_test)


def held_out(categories: Sequence[str], *, share: float) -> Bool[np.ndarray, " n"]:
    """A share of every category, drawn with a fixed seed."""
    rng, names = np.random.default_rng(SPLIT_SEED), np.array(categories)
    is_test = np.zeros(len(names), bool)
    for name in sorted(set(categories)):
        members = np.flatnonzero(names == name)
        is_test[rng.permutation(members)[: round(share * len(members))]] = True
    return is_test


def check_methods(names: Sequence[str]) -> None:
    """Nothing, where every name is a method's.

    Raises:
        UsageError: one is not.
    """
    known = [*METHODS, SUPERVISED]
    for name in names:
        if name not in known:
            raise UsageError(
                f"--strategies {name}: no such strategy{did_you_mean(name, known)}; it is one of {', '.join(known)}"
            )


def pick_categories(truth: Truth, wanted: str, *, config: SimulateConfig) -> list[str]:
    """The categories that `wanted` names: "all", a number of them drawn with a fixed seed, or names with commas.

    Raises:
        UsageError: one is not in the truth, or has too few photos to search for or to be scored with.
    """
    usable = [name for name in truth.names() if _problem(truth, name, config) is None]
    if wanted == "all":
        return usable
    if wanted.isdecimal():
        if int(wanted) > len(usable):
            raise UsageError(f"--categories {wanted}: only {len(usable)} have enough photos")
        return sorted(np.random.default_rng(SPLIT_SEED).permutation(usable)[: int(wanted)].tolist())
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in truth.names():
            raise UsageError(f"--categories {name}: not in the truth{did_you_mean(name, truth.names())}")
        if (problem := _problem(truth, name, config)) is not None:
            raise UsageError(f"--categories {name}: {problem}")
    return names


def _problem(truth: Truth, name: str, config: SimulateConfig) -> str | None:
    is_positive = truth.is_positive(name)
    searched, tested = int((is_positive & ~truth.is_test).sum()), int((is_positive & truth.is_test).sum())
    if searched <= config.num_seeds:
        return f"{searched} photos to search, all needed to start with"
    return None if tested else "no photo is held out to score with"


@dataclass(frozen=True, slots=True)
class Curve:
    """One run: a row of summary.json, and an answer to "how much did the labels bring?".

    Attributes:
        labels: asked so far, from 0 on.
        ap, f1, best_f1: on the held-out photos; f1 at the model's own threshold, best_f1 at the best.
        found: the share of the pool's positives that were found, seeds left out of both.
        updates: of features: after how many labels, whether promoted, and what was measured.
    """

    strategy: str
    category: str
    seed: int
    labels: list[int]
    ap: list[float]
    f1: list[float]
    best_f1: list[float]
    found: list[float]
    updates: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def simulate(
    features: Float[np.ndarray, "pool dim"],
    truth: Truth,
    *,
    strategies: Sequence[str],
    categories: Sequence[str],
    seeds: Sequence[int],
    config: SimulateConfig,
    done: Mapping[tuple[str, str, int], Curve] | None = None,
) -> Generator[Curve, None, None]:
    """One curve a strategy, category and seed, in that order of loops; those in `done` are not run again.

    All strategies start from the same seeds, so their curves compare as pairs.
    """
    searched, tested = np.flatnonzero(~truth.is_test), np.flatnonzero(truth.is_test)
    known = done or {}
    if all((s, c, seed) in known for s in strategies for c in categories for seed in seeds):
        yield from (known[s, c, seed] for s in strategies for c in categories for seed in seeds)
        return
    bench = Bench(features[searched], features[tested], config)
    for strategy in strategies:
        for category in categories:
            is_positive = truth.is_positive(category)
            for seed in seeds:
                curve = known.get((strategy, category, seed))
                yield curve or bench.run(strategy, category, is_positive[searched], is_positive[tested], seed)


@final
class Bench:
    """A searched part and a held-out part of a pool."""

    def __init__(
        self, features: Float[np.ndarray, "pool dim"], tested: Float[np.ndarray, "test dim"], config: SimulateConfig
    ) -> None:
        # single precision: rounds are many and pools small here
        self.features, self.tested, self.config = features.astype(np.float32), tested.astype(np.float32), config
        self._facts = PoolFacts(features)

    def run(
        self,
        strategy: str,
        category: str,
        is_positive: Bool[np.ndarray, " pool"],
        test_labels: Bool[np.ndarray, " test"],
        seed: int,
    ) -> Curve:
        """Mine one category from seeds that depend on `seed` and the category alone."""
        curve = Curve(strategy, category, seed, [], [], [], [], [])
        start = first_positives(is_positive, num=self.config.num_seeds, seed=seed)
        if strategy == SUPERVISED:
            return self._supervised(curve, is_positive, test_labels)
        rng = np.random.default_rng([seed, 1])
        miner = Miner(self.features, METHODS[strategy], rng=rng, facts=self._facts)
        miner.add(start, np.full(len(start), POSITIVE))
        left = int(is_positive.sum()) - len(start)
        first = centroid(self.features[start])
        if METHODS[strategy].starts_with_model and miner.learn() and miner.model is not None:
            first = miner.model
        score_curve(curve, 0, 0.0, first.scores(self.tested), test_labels)
        rounds = mine(miner, lambda ix: is_positive[ix], budget=self.config.num_labels, batch=self.config.batch)
        for report in rounds:
            scores = report.model.scores(self.tested)
            score_curve(curve, report.num_labels, report.num_found / left, scores, test_labels)
        return curve

    def _supervised(self, curve: Curve, is_positive: np.ndarray, test_labels: np.ndarray) -> Curve:
        """A linear model on the fully labelled pool, the same at every number of labels."""
        model = fit_linear(self.features.astype(np.float32), is_positive, c=10.0, is_balanced=True)
        scores = model.scores(self.tested)
        for num in range(0, self.config.num_labels + 1, self.config.batch):
            score_curve(curve, num, 1.0, scores, test_labels)
        return curve


def score_curve(curve: Curve, num: int, found: float, scores: np.ndarray, labels: np.ndarray) -> None:
    """Append what the scores of the held-out photos come to after `num` labels."""
    curve.labels.append(num)
    curve.found.append(round(found, 5))
    curve.ap.append(round(average_precision(scores, labels), 5))
    curve.f1.append(round(binary_score(scores > 0, labels).f1, 5))
    curve.best_f1.append(round(best_f1(scores, labels).f1, 5))


def first_positives(is_positive: Bool[np.ndarray, " pool"], *, num: int, seed: int) -> Int64[np.ndarray, " num"]:
    """The seeds of a run: random positives."""
    return np.random.default_rng([seed, 0]).permutation(np.flatnonzero(is_positive))[:num]
