"""Background splitting against what it should beat, on Tiny ImageNet and Caltech-101 with few positives.

Blocks 0 to 12 of EfficientNet-Lite0 stay frozen and their outputs are kept; the rest trains (--trained-parts -1: all of
it, from images that are cropped and flipped, in a file of its own). Auxiliary labels are the same network's own answers
at a larger size. Settings were chosen on draw 100 of Tiny ImageNet, which is not scored. It goes on from --work;
results are written after each draw, with how many there are.
"""

import statistics
import tarfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from narrowcast.bgsplit.adapt import AdaptConfig, adapt
from narrowcast.bgsplit.auxiliary import AuxiliaryLabels, classifier_labels, keep_features
from narrowcast.bgsplit.compare import EpochsConfig, RunResult, compare, paired
from narrowcast.bgsplit.method import MethodConfig, find_method
from narrowcast.bgsplit.prepare import ALL_PARTS, Workbench, drained, prepare
from narrowcast.cli._bgsplit import open_table
from narrowcast.cli._bgsplit_train import TRAINING
from narrowcast.core.config import to_dict
from narrowcast.data.background import BackgroundConfig, BackgroundSplit
from narrowcast.data.image_table import ImageTable
from narrowcast.models.backbones import load_backbone

SETS = {"tiny-imagenet": 128, "caltech101": 160}  # the size at which the teacher sees the images
METHODS_RUN = (
    "ft-raw,ft,focal,ldam,lws,logit-adjusted,probe,auxiliary,clamp,bgsplit,bgsplit-logit-adjusted,bgsplit-probe"
)
ADAPTED_RUN = "probe,clamp-heads,logit-adjusted-heads,ft,logit-adjusted,bgsplit,bgsplit-logit-adjusted"
REFERENCES = ("probe", "logit-adjusted", "ft")
EPOCHS = EpochsConfig(epochs=3.0, warmup_epochs=0.5)
ADAPT_EPOCHS = EpochsConfig(epochs=12.0, warmup_epochs=0.5)
NUM_CATEGORIES = 5
UNSCORED = 100  # draws from here on are for choosing settings
PROTOCOLS = (
    "blocks 13-15 and the last convolution of EfficientNet-Lite0 trained on kept maps; see the script",
    "all of EfficientNet-Lite0 trained on images; see the script",
)


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    add_options(parser)
    parser.add_argument("--backgrounds", default="0.995,0.98,0.999")
    parser.add_argument("--methods", default=METHODS_RUN)
    parser.add_argument("--adapted", default=ADAPTED_RUN, help="methods that begin at the adapted trunk")
    parser.add_argument("--name", help="of the result, instead of one made of data and options")
    parser.add_argument("--first-draw", type=int, default=0, help="100: the one that settings are chosen on")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    table = open_table(unpacked(arguments))
    bench, labels = benches(arguments, table, device)
    levels = {}
    for wanted in map(float, arguments.backgrounds.split(",")):
        levels[wanted] = positives_for(table, wanted)
    found: dict[str, list[RunResult]] = {}
    name = arguments.name or result_name(arguments)
    adapted: list[Workbench] = []
    for draw in range(arguments.first_draw, arguments.first_draw + arguments.draws):
        for wanted, positives in levels.items():
            runs = run(arguments, table, bench, labels, draw, positives, adapted)
            found.setdefault(str(wanted), []).extend(runs)
            record.write(arguments.out, name, result(arguments, levels, labels, found), device=device)
    print(show(found))
    return 0


def result_name(arguments: Namespace) -> str:
    """What the result is called where nobody says it."""
    whole = "-whole" if arguments.trained_parts == ALL_PARTS else ""
    norm = "-followed" if arguments.norm == "followed" else ""
    return f"bgsplit-{arguments.data}{whole}{norm}" + ("-unscored" if arguments.first_draw >= UNSCORED else "")


def add_options(parser: Any) -> None:
    """What the benchmarks of background splitting have in common."""
    parser.add_argument("--data", choices=SETS, default="tiny-imagenet")
    parser.add_argument("--folder", type=Path, help="the data set unpacked (default: its tar, unpacked in --work)")
    parser.add_argument("--work", type=Path, default=Path("bgsplit-work"), help="caches and runs; it goes on from here")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--trained-parts", type=int, default=4, help="of the trunk; -1: all")
    parser.add_argument("--trunk-rate", type=float, default=1.0, help="multiplies the trunk's learning rate")
    parser.add_argument("--norm", choices=("frozen", "followed"), default="frozen", help="batch norm's statistics")


def unpacked(arguments: Namespace) -> Path:
    """The data set's folder."""
    if arguments.folder:
        return arguments.folder
    target = arguments.work / "data"
    if not (target / arguments.data).is_dir():
        with tarfile.open(record.data() / f"{arguments.data}.tar") as archive:
            archive.extractall(target, filter="data")
    return target / arguments.data


def benches(arguments: Namespace, table: ImageTable, device: torch.device) -> tuple[Workbench, AuxiliaryLabels]:
    """What methods train from, and the teacher's labels."""
    cache = arguments.work / "cache"
    network: Any = load_backbone(f"efficientnet-lite0@{arguments.size}", device=device)
    bench = drained(prepare(table, network, trained_parts=arguments.trained_parts, cache=cache))
    teacher: Any = load_backbone(f"efficientnet-lite0@{SETS[arguments.data]}", device=device)
    kept, reports = keep_features(cache, table, teacher)
    for _ in reports:
        pass
    labels = classifier_labels(np.asarray(kept.read("features")), teacher.head, source=teacher.name)
    return bench, labels


def positives_for(table: ImageTable, background: float) -> int:
    """Positives a category that make the background about that share of the training images."""
    counts = table.of_split("train").counts()
    others = counts.sum() * (1 - NUM_CATEGORIES / len(counts))
    return max(1, round(others * (1 - background) / background / NUM_CATEGORIES))


def run(
    arguments: Namespace,
    table: ImageTable,
    bench: Workbench,
    labels: AuxiliaryLabels,
    draw: int,
    positives: int,
    adapted: list[Workbench],
) -> list[RunResult]:
    """All methods on one draw at one level."""
    background = BackgroundConfig(num_categories=NUM_CATEGORIES, positives=positives)
    results = methods_on(arguments, bench, labels, background, [draw], arguments.methods, "all-plain")
    if arguments.adapted:
        if not adapted:
            rows = sum(one == "train" for one in table.split)
            steps = ADAPT_EPOCHS.steps(replace(TRAINING, checkpoint_every=100), num_images=rows)
            folder = runs_folder(arguments) / "adapted-all"
            config = AdaptConfig(trunk_rate=arguments.trunk_rate, norm=arguments.norm)
            adapted.append(drained(adapt(bench, labels, steps, folder=folder, is_own=True, config=config)))
        own = methods_on(arguments, adapted[0], labels, background, [draw], arguments.adapted, "all-adapted")
        results += [replace(one, method=f"adapted-{one.method}") for one in own]
    return results


def head_of(bench: Workbench) -> torch.nn.Linear:
    assert bench.head is not None
    return bench.head


def methods_on(
    arguments: Namespace,
    bench: Workbench,
    labels: AuxiliaryLabels,
    background: BackgroundConfig,
    draws: Sequence[int],
    names: str,
    kind: str,
) -> list[RunResult]:
    def task_of(split: BackgroundSplit) -> Any:
        return bench.task(split, labels, is_own=True)

    reports = compare(
        bench.table,
        background,
        {name: scaled(find_method(name), arguments) for name in names.split(",")},
        task_of=task_of,
        training=TRAINING,
        epochs=EPOCHS,
        draws=draws,
        seeds=[0],
        folder=runs_folder(arguments) / f"{kind}-{background.positives}",
    )
    return finished(reports)


def scaled(method: MethodConfig, arguments: Namespace) -> MethodConfig:
    """The method with the trunk's rate scaled, and batch norm as asked for."""
    return replace(method, trunk_rate=arguments.trunk_rate * method.trunk_rate, norm=arguments.norm)


def runs_folder(arguments: Namespace) -> Path:
    whole = "-whole" if arguments.trained_parts == ALL_PARTS else ""
    rate = f"-rate{arguments.trunk_rate:g}" if arguments.trunk_rate != 1 else ""
    norm = f"-{arguments.norm}" if arguments.norm != "frozen" else ""
    return arguments.work / f"{arguments.data}-{arguments.size}{whole}{rate}{norm}"


def finished(reports: Any) -> list[RunResult]:
    while True:
        try:
            next(reports)
        except StopIteration as stopped:
            return stopped.value


def result(
    arguments: Namespace, levels: dict[float, int], labels: AuxiliaryLabels, found: dict[str, list[RunResult]]
) -> dict[str, Any]:
    """The JSON: settings, means and paired differences of each level, and every run."""
    return {
        "protocol": PROTOCOLS[arguments.trained_parts == ALL_PARTS],
        "data": arguments.data,
        "size": arguments.size,
        "trunk_rate": arguments.trunk_rate,
        "norm": arguments.norm,
        "teacher": {"name": labels.source, "largest_share": labels.largest_share, "used": labels.num_used},
        "training": to_dict(TRAINING),
        "epochs": to_dict(EPOCHS),
        "adapt_epochs": to_dict(ADAPT_EPOCHS),
        "positives": {str(wanted): positives for wanted, positives in levels.items()},
        "levels": {wanted: level(results) for wanted, results in found.items()},
    }


def level(results: list[RunResult]) -> dict[str, Any]:
    methods = list(dict.fromkeys(one.method for one in results))
    rows = {}
    for method in methods:
        own = [one for one in results if one.method == method]
        differences = {}
        for other in REFERENCES:
            gap = paired(results, method, other)
            if other != method and gap.num > 1:
                differences[other] = [round(gap.mean, 4), round(gap.error, 4)]
        rows[method] = {
            "draws": len(own),
            "map": mean(own, "map"),
            "f1": mean(own, "f1"),
            "f1_threshold": mean(own, "f1_threshold"),
            "seconds": mean(own, "seconds"),
            "less": differences,
        }
    return {
        "background": round(statistics.fmean(one.background for one in results), 5),
        "methods": rows,
        "runs": [
            {"method": one.method, "draw": one.draw, "seed": one.seed, "map": round(one.map, 4)}
            | {"ap_per_category": {key: round(value, 4) for key, value in one.ap_per_category.items()}}
            for one in results
        ],
    }


def mean(results: list[RunResult], key: str) -> float:
    return round(statistics.fmean(getattr(one, key) for one in results), 4)


def show(found: dict[str, list[RunResult]]) -> str:
    """A table for each level."""
    tables = []
    for wanted, results in found.items():
        rows = [
            [name, row["map"], row["f1"], row["f1_threshold"], *(gap(row, other) for other in REFERENCES), row["draws"]]
            for name, row in level(results)["methods"].items()
        ]
        head = [wanted, "mAP", "F1", "F1 at threshold", *(f"less {other}" for other in REFERENCES), "draws"]
        tables.append(record.table(head, rows))
    return "\n\n".join(tables)


def gap(row: dict[str, Any], other: str) -> str:
    """ "+0.010 ± 0.004", or a dash."""
    if other not in row["less"]:
        return "–"
    value, error = row["less"][other]
    return f"{value:+.3f} ± {error:.3f}"


if __name__ == "__main__":
    record.main(main)
