"""Tropel-Deep: Tropel whose features are learned every fifty labels. On Caltech-101, in a reduced setting.

python benchmarks/mining_deep.py --images FOLDER

The most likely photos are asked and no pseudo-negative is fitted (Tropel); features are learned from the labels by
background splitting, beside the frozen ones, from the backbone's own answers. Five categories are mined side by side,
and share what is learned. Three curves: frozen; learned and always kept, as the thesis does (`+always`); and kept only
where they win on labels set aside (`+updates`). It goes on from the result that is there.
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mining
import record
import torch
from mining_updates import always

from narrowcast.cli._interrupt import Stop
from narrowcast.cli._mine_learn import LearnSetting, learner, pool_table, workbench
from narrowcast.mine.pool import Pool
from narrowcast.mine.simulate import Curve, SimulateConfig, Truth, simulate
from narrowcast.mine.simulate_updates import SUFFIX, as_judged, simulate_updates
from narrowcast.mine.updates import UpdateConfig, beside

STRATEGY, EVERY, NAME = "tropel", 50, "mining-deep"
KINDS = {"always": always, "updates": as_judged}


def main() -> int:
    """Run what is missing, write the result, print the table."""
    options = record.parser(__doc__, threads=1)
    options.add_argument("--images", type=Path, help="folder of the unpacked archives")
    options.add_argument("--pool", type=Path, help="the pool, indexed where it is not there (default: build/NAME.pool)")
    options.add_argument("--work", type=Path, default=record.REPOSITORY / "build" / "mining-deep")
    options.add_argument("--categories", type=int, default=5)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--labels", type=int, default=100)
    options.add_argument("--epochs", type=float, default=15.0, help="of an update; 15 in section 4.3.1")
    options.add_argument("--most-pseudo", type=int, default=300, help="pseudo-negatives of a category to learn from")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    arguments.set = "caltech"
    if arguments.quick:
        arguments.labels, arguments.categories, arguments.epochs = 20, 2, 0.5
    pool = mining.pool_of(arguments)
    truth = mining.truth_of(pool, "caltech")
    categories = mining.categories_of(truth, "caltech", arguments.categories)
    curves = {
        (curve.strategy, curve.category, curve.seed): curve
        for curve in (Curve(**row) for row in record.read(arguments.out, NAME).get("runs", []))
    }
    for curve in runs(arguments, pool, truth, categories, curves, device):
        curves[curve.strategy, curve.category, curve.seed] = mining.thinned(curve)
        result = told(arguments, pool, truth, categories, list(curves.values()))
        record.write(arguments.out, NAME, result, device=device)
    print(mining.table(result))
    return 0


def runs(
    arguments: Namespace,
    pool: Pool,
    truth: Truth,
    categories: list[str],
    curves: dict[tuple[str, str, int], Curve],
    device: torch.device,
) -> Iterator[Curve]:
    """Frozen features, then both ways to learn."""
    config, seeds, frozen = SimulateConfig(num_labels=arguments.labels), range(arguments.seeds), pool.features()
    yield from simulate(
        frozen, truth, strategies=[STRATEGY], categories=categories, seeds=seeds, config=config, done=dict(curves)
    )
    setting = LearnSetting(epochs=arguments.epochs, device="cpu")
    table = pool_table(pool, truth.is_test)
    bench, pseudo = workbench(pool, pool.store().note, setting, device, Stop(), table)
    for kind, decide in KINDS.items():
        known = {
            (STRATEGY + SUFFIX, category, seed): replace(curve, strategy=STRATEGY + SUFFIX)
            for (strategy, category, seed), curve in curves.items()
            if strategy == f"{STRATEGY}+{kind}"
        }
        made = simulate_updates(
            frozen,
            truth,
            pool.items(),
            strategy=STRATEGY,
            categories=categories,
            seeds=seeds,
            config=config,
            fit_of=lambda seed: beside(frozen, learner(bench, pseudo, setting, arguments.work / "fits", seed=seed)),
            updates=UpdateConfig(most_pseudo=arguments.most_pseudo),
            queries=1 if arguments.quick else EVERY // config.batch,
            decide=decide,
            done=known,
        )
        for curve in made:
            yield replace(curve, strategy=f"{STRATEGY}+{kind}")


def told(arguments: Namespace, pool: Pool, truth: Truth, categories: list[str], curves: list[Curve]) -> dict[str, Any]:
    """As mining.py tells it, against frozen features, with what was learned and when."""
    result = mining.result_of(pool, truth, categories, curves, against=STRATEGY)
    learned = {name: getattr(arguments, name) for name in ("epochs", "most_pseudo")} | {
        "every": EVERY,
        "teacher": "own",
    }
    for run, curve in zip(result["runs"], curves, strict=True):
        run["updates"] = curve.updates
    return result | {"learned": learned}


if __name__ == "__main__":
    record.main(main)
