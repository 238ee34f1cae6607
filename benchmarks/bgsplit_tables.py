"""Components, features reused for other categories, batch sizes and averaged weights: tables 5.5 to 5.7 of the thesis.

Tiny ImageNet at one level of background; the draws and settings of `bgsplit.py`, whose --work it shares. Rates follow
the batch size. Reuse: what was trained on one draw's categories is frozen, and a balanced probe learns another draw's.
"""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import record

import bgsplit
from narrowcast.bgsplit.auxiliary import AuxiliaryLabels
from narrowcast.bgsplit.compare import RunResult, compare, score
from narrowcast.bgsplit.method import find_method
from narrowcast.bgsplit.prepare import Workbench
from narrowcast.bgsplit.train import Task, reused, train
from narrowcast.cli._bgsplit import open_table
from narrowcast.cli._bgsplit_train import TRAINING
from narrowcast.core.files import write_json
from narrowcast.data.background import BackgroundConfig, draw_split

PARTS = ("components", "reuse", "batch", "average")
COMPONENTS = "ft-raw,auxiliary-raw,clamp-raw,bgsplit-raw,ft,auxiliary,clamp,bgsplit"
REUSED = ("probe", "ft", "bgsplit")  # the first trains nothing: the features as they were
OTHER = 50  # a draw's categories are learned anew on what the draw 50 before learned
BATCH_SIZES = (64, 1024)  # beside 256
NAME = "bgsplit-tables"


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    bgsplit.add_options(parser)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--background", type=float, default=0.995)
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    table = open_table(bgsplit.unpacked(arguments))
    bench, labels = bgsplit.benches(arguments, table, device)
    positives = bgsplit.positives_for(table, arguments.background)
    background = BackgroundConfig(num_categories=bgsplit.NUM_CATEGORIES, positives=positives)
    draws = range(arguments.draws)
    found: list[RunResult] = bgsplit.methods_on(
        arguments, bench, labels, background, draws, "probe,logit-adjusted", "all-plain"
    )
    for part in arguments.parts.split(","):
        if part == "components":
            found += bgsplit.methods_on(arguments, bench, labels, background, draws, COMPONENTS, "all-plain")
        elif part == "reuse":
            found += reuse(arguments, bench, labels, background, draws)
        elif part == "batch":
            for size in BATCH_SIZES:
                found += batch(arguments, bench, labels, background, draws, size)
        else:
            found += bgsplit.methods_on(arguments, bench, labels, background, draws, "bgsplit-averaged", "all-plain")
        once = list({(one.method, one.draw, one.seed): one for one in found}.values())
        level = bgsplit.level(once)
        result = {"protocol": "as bgsplit.py", "data": arguments.data, "size": arguments.size}
        record.write(arguments.out, NAME, result | {"levels": {str(arguments.background): level}}, device=device)
    print(bgsplit.show({str(arguments.background): found}))
    return 0


def batch(
    arguments: Namespace,
    bench: Workbench,
    labels: AuxiliaryLabels,
    background: BackgroundConfig,
    draws: Sequence[int],
    size: int,
) -> list[RunResult]:
    """Fine-tuning and background splitting with another batch size; as many epochs."""
    rate = TRAINING.learning_rate * size / TRAINING.batch_size
    reports = compare(
        bench.table,
        background,
        {name: find_method(name) for name in ("ft", "bgsplit")},
        task_of=lambda split: bench.task(split, labels, is_own=True),
        training=replace(TRAINING, batch_size=size, learning_rate=rate),
        epochs=bgsplit.EPOCHS,
        draws=draws,
        seeds=[0],
        folder=home(arguments) / f"batch-{size}-{background.positives}",
    )
    return [replace(one, method=f"{one.method}, batch {size}") for one in bgsplit.finished(reports)]


def reuse(
    arguments: Namespace,
    bench: Workbench,
    labels: AuxiliaryLabels,
    background: BackgroundConfig,
    draws: Sequence[int],
) -> list[RunResult]:
    """A probe for one draw's categories on the features that each method learned for another draw's."""
    results = []
    for draw in draws:
        own = draw_split(bench.table, replace(background, draw=draw))
        other = draw_split(bench.table, replace(background, draw=draw + OTHER))
        evaluated = tuple(name for name in other.categories if name not in own.categories)
        task = bench.task(replace(other, evaluated=evaluated), labels, is_own=True)
        for name in REUSED:
            path = home(arguments) / f"reuse-{background.positives}" / f"draw{draw}-{name}.json"
            if not path.exists():
                first = bench.task(own, labels, is_own=True)
                write_json(path, asdict(one_reuse(first, task, name, path.with_suffix(""), draw)))
            results.append(RunResult(**json.loads(path.read_text(encoding="utf-8"))))
    return results


def one_reuse(first: Task, second: Task, name: str, folder: Path, draw: int) -> RunResult:
    """Learn the first task by the method `name`, then the second on its features."""
    steps = bgsplit.EPOCHS.steps(TRAINING, num_images=len(first.split.train_rows))
    classifier = bgsplit.finished(train(first, find_method(name), steps, folder=folder, seed=0))
    found = score(reused(classifier, second), second)
    return RunResult(
        method=f"probe on what {name} learned of others" if name != "probe" else "probe on other categories' draws",
        seed=0,
        draw=draw + OTHER,
        background=second.split.background,
        map=found.map,
        f1=found.f1,
        f1_threshold=found.f1_threshold,
        ap_per_category={one.category: one.ap for one in found.categories},
        seconds=0.0,
        loss=0.0,
        evaluation={},
    )


def home(arguments: Namespace) -> Path:
    return arguments.work / f"{arguments.data}-{arguments.size}"


if __name__ == "__main__":
    record.main(main)
