"""Simulations: everything beats chance on a toy, pairs share their seeds, held-out photos are never asked."""

import math
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, SourceError, UsageError
from narrowcast.mine.methods import METHODS
from narrowcast.mine.miner import POSITIVE, Miner
from narrowcast.mine.pool import Pool
from narrowcast.mine.report import write_report
from narrowcast.mine.rounds import mine
from narrowcast.mine.simulate import (
    SUPERVISED,
    Curve,
    SimulateConfig,
    Truth,
    check_methods,
    first_positives,
    held_out,
    pick_categories,
    read_truth,
    simulate,
)
from narrowcast.mine.summary import at, means, paired, read_summary, write_summary

CONFIG = SimulateConfig(num_labels=30, num_seeds=3)


def world(num: int = 600) -> tuple[np.ndarray, Truth]:
    """Nine common kinds and a rare one (3%), noisy directions in 24 dimensions."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 9, num)
    kinds[rng.permutation(num)[: num * 3 // 100]] = 9
    features = rng.standard_normal((10, 24))[kinds] + 0.9 * rng.standard_normal((num, 24))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float16)
    names = [f"kind-{kind}" for kind in kinds]
    return features, Truth(names, held_out(names, share=0.3))


@pytest.fixture(scope="module")
def curves() -> list[Curve]:
    features, truth = world()
    names = [*METHODS, SUPERVISED]
    return list(simulate(features, truth, strategies=names, categories=["kind-9"], seeds=[0], config=CONFIG))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_every_strategy_finds_more_than_chance(curves: list[Curve], name: str) -> None:
    # 30 of 420 photos at random find 7% of 10 positives; half of them are found so with p < 1e-4
    least = 0.1 if name == "likely-boundary" else 0.5  # which is not after finds
    assert means(curves, name, "found", 30).value >= least
    assert means(curves, name, "ap", 30).value > 0.5


def test_pairs_start_alike_and_curves_are_whole(curves: list[Curve]) -> None:
    for curve in curves:
        assert curve.labels == [0, 10, 20, 30]
        assert all(0 <= value <= 1 for measure in ("ap", "f1", "best_f1", "found") for value in getattr(curve, measure))
        assert curve.found == sorted(curve.found)
    starts = {
        curve.ap[0] for curve in curves if curve.strategy in ("tropel", "algorithm2", "margin") and curve.seed == 0
    }
    assert len(starts) == 1


def test_the_same_seed_gives_the_same_curve(curves: list[Curve]) -> None:
    features, truth = world()
    again = simulate(features, truth, strategies=["explore"], categories=["kind-9"], seeds=[0], config=CONFIG)
    assert list(again) == [curve for curve in curves if curve.strategy == "explore"]


def test_held_out_photos_are_not_asked_and_no_photo_twice() -> None:
    features, truth = world()
    searched = np.flatnonzero(~truth.is_test)
    is_positive = truth.is_positive("kind-9")[searched]
    asked: list[int] = []

    def oracle(pool_ix: np.ndarray) -> np.ndarray:
        asked.extend(pool_ix.tolist())
        return is_positive[pool_ix]

    seeds = first_positives(is_positive, num=3, seed=0)
    for name in ("default", "algorithm2", "random", "explore"):
        asked.clear()
        miner = Miner(features[searched], METHODS[name], rng=np.random.default_rng(0))
        miner.add(seeds, np.full(3, POSITIVE))
        reports = list(mine(miner, oracle, budget=35))
        assert [report.num_labels for report in reports] == [10, 20, 30, 35]
        assert len(set(asked)) == len(asked) == 35
        assert not set(asked) & set(seeds.tolist())
        assert reports[-1].num_found == is_positive[asked].sum()


def test_mining_ends_with_the_pool() -> None:
    features, truth = world(60)
    is_positive = truth.is_positive("kind-0")
    miner = Miner(features, METHODS["default"], rng=np.random.default_rng(0))
    miner.add(np.flatnonzero(is_positive)[:1], [POSITIVE])
    reports = list(mine(miner, lambda ix: is_positive[ix], budget=1000))
    assert reports[-1].num_labels == 59
    assert reports[-1].num_found == is_positive.sum() - 1


def test_algorithm_2_begins_with_the_centroid_and_asks_no_margin_first() -> None:
    features, truth = world()
    is_positive = truth.is_positive("kind-9")
    seeds = np.flatnonzero(is_positive)[:5]
    miner = Miner(features, METHODS["algorithm2"], rng=np.random.default_rng(0))
    miner.add(seeds, np.full(5, POSITIVE))
    first = next(mine(miner, lambda ix: is_positive[ix], budget=10))
    mean = features[seeds].astype(np.float32).mean(0)
    cosines = features.astype(np.float32) @ mean
    cosines[seeds] = -9
    assert set(first.choice.pool_ix.tolist()) == set(np.argsort(-cosines)[:10].tolist())
    assert set(first.choice.reasons) == {"most likely"}
    assert first.has_model
    assert first.num_pseudo == min(int(100 * (5 + first.num_found + 0.1 * (10 - first.num_found))), (600 - 15) // 2)


def test_a_category_needs_a_positive() -> None:
    features, _ = world(60)
    with pytest.raises(UsageError, match="at least one positive"):
        Miner(features, METHODS["default"], rng=np.random.default_rng(0)).ask(3)


def test_positives_from_outside_count() -> None:
    features, truth = world()
    outside = features[truth.is_positive("kind-9")][:3].astype(np.float32)
    miner = Miner(features, METHODS["default"], rng=np.random.default_rng(0), outside=outside)
    assert truth.is_positive("kind-9")[miner.ask(10).pool_ix].mean() > 0.3


def curve(strategy: str, category: str, seed: int, ap: list[float]) -> Curve:
    return Curve(strategy, category, seed, [0, 10], ap, ap, ap, ap)


def test_pairs_are_of_the_same_category_and_seed_and_errors_over_categories() -> None:
    runs = [curve("a", c, s, [0.1, v]) for c, s, v in [("x", 0, 0.5), ("x", 1, 0.7), ("y", 0, 0.2), ("z", 0, 0.9)]]
    runs += [curve("b", c, s, [0.1, v]) for c, s, v in [("x", 0, 0.4), ("x", 1, 0.6), ("y", 0, 0.3)]]
    found = paired(runs, "a", "b", "ap", 10)
    assert (found.value, found.num) == (pytest.approx(0.0), 2)
    assert found.error == pytest.approx(0.1)
    assert math.isnan(at(runs[0], "ap", -1))
    assert at(runs[0], "ap", 500) == 0.5


def test_summaries_survive_and_reports_are_pages(tmp_path: Path, curves: list[Curve]) -> None:
    kept = [*curves, curve("a", "x", 0, [math.nan, 0.5])]
    write_summary(tmp_path, kept)
    again = read_summary(tmp_path)
    assert again[:-1] == curves
    assert math.isnan(again[-1].ap[0])
    write_report(tmp_path, curves, subtitle="a toy", against="tropel")
    text = (tmp_path / "report.html").read_text()
    assert "Paired difference to tropel" in text
    assert "<svg" in text


def test_the_truth_of_a_csv(pool: Pool, photos: Path) -> None:
    rows = [f"{path},{'red' if ix % 5 == 0 else 'grey'}" for ix, path in enumerate(pool.paths())]
    (photos / "labels.csv").write_text("path,category\n" + "\n".join([*rows, "missing.png,red"]))
    truth = read_truth(photos / "labels.csv", pool, test_share=0.25)
    assert truth.names() == ["grey", "red"]
    assert truth.is_positive("red").sum() == 8
    assert truth.is_test.sum() == 10
    lines = [f"{Path(row).name},{'test' if ix % 2 else 'train'}" for ix, row in enumerate(rows)]
    (photos / "labels.csv").write_text("path,category,split\n" + "\n".join(lines))
    assert read_truth(photos / "labels.csv", pool, test_share=0.25).is_test.tolist() == [
        ix % 2 == 1 for ix in range(40)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a,b\n1,2", "expected a header with path and category", id="header"),
        pytest.param("path,category\nnowhere.png,red", "none of its 1 paths is in", id="other photos"),
        pytest.param(None, "cannot be read", id="missing"),
    ],
)
def test_truths_that_are_none(pool: Pool, tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_truth(tmp_path / "labels.csv", pool, test_share=0.3)


def test_categories_and_strategies_are_checked_before_anything_runs() -> None:
    _, truth = world()
    assert len(pick_categories(truth, "all", config=CONFIG)) == 10
    assert len(pick_categories(truth, "4", config=CONFIG)) == 4
    assert pick_categories(truth, "kind-3, kind-1", config=CONFIG) == ["kind-3", "kind-1"]
    with pytest.raises(UsageError, match="did you mean"):
        pick_categories(truth, "kind-33", config=CONFIG)
    with pytest.raises(UsageError, match="all needed to start with"):
        pick_categories(truth, "kind-9", config=SimulateConfig(num_seeds=500))
    with pytest.raises(UsageError, match="did you mean 'tropel'"):
        check_methods(["tropell"])
    with pytest.raises(ConfigError, match="batch"):
        SimulateConfig(batch=0)
