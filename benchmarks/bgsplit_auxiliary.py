"""Which auxiliary task helps (table 5.3), on Tiny ImageNet at one level of background, and the controls.

The trunk learns the auxiliary labels of all images, then background splitting joins them with five categories; a
balanced probe on the adapted trunk shows what the first step alone is worth. The same draws and settings as
`bgsplit.py`, whose --work it shares. Kinds: the classifier at a larger size than the trunk's; at the same size; without
the classes that the foreground falls into; clusters of the larger classifier's features; chance.
"""

from argparse import Namespace
from dataclasses import replace
from typing import Any

import numpy as np
import record

import bgsplit
from narrowcast.bgsplit.adapt import adapt
from narrowcast.bgsplit.auxiliary import (
    AuxiliaryLabels,
    classifier_labels,
    cluster_labels,
    keep_features,
    own_classes,
    random_labels,
)
from narrowcast.bgsplit.compare import RunResult, compare
from narrowcast.bgsplit.method import find_method
from narrowcast.bgsplit.prepare import Workbench, drained
from narrowcast.cli._bgsplit import open_table
from narrowcast.cli._bgsplit_train import TRAINING
from narrowcast.data.background import BackgroundConfig, BackgroundSplit, draw_split
from narrowcast.models.backbones import load_backbone

KINDS = ("larger", "same-size", "clusters", "random", "without-own")
NUM = 1000  # clusters or random categories
METHODS = ("probe", "clamp-heads", "bgsplit")
NAME = "bgsplit-auxiliary"


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    bgsplit.add_options(parser)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--background", type=float, default=0.995)
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    table = open_table(bgsplit.unpacked(arguments))
    bench, larger = bgsplit.benches(arguments, table, device)
    positives = bgsplit.positives_for(table, arguments.background)
    background = BackgroundConfig(num_categories=bgsplit.NUM_CATEGORIES, positives=positives)
    found = bgsplit.methods_on(arguments, bench, larger, background, range(arguments.draws), "probe", "all-plain")
    for kind in arguments.kinds.split(","):
        for draw in range(arguments.draws):
            labels, is_own = labels_of(kind, arguments, bench, larger, background, draw)
            own = on_adapted(arguments, bench, labels, is_own, background, draw, kind)
            found += [replace(one, method=f"{kind}: {one.method}") for one in own]
            result = {
                "protocol": "as bgsplit.py; the trunk adapted to each kind of auxiliary labels first",
                "data": arguments.data,
                "size": arguments.size,
                "larger": larger.source,
                "levels": {str(arguments.background): bgsplit.level(found)},
            }
            record.write(arguments.out, NAME, result, device=device)
    print(bgsplit.show({str(arguments.background): found}))
    return 0


def labels_of(
    kind: str,
    arguments: Namespace,
    bench: Workbench,
    larger: AuxiliaryLabels,
    background: BackgroundConfig,
    draw: int,
) -> tuple[AuxiliaryLabels, bool]:
    """The labels, and whether they are classes of the trunk's own classifier."""
    if kind == "larger":
        return larger, True
    if kind == "same-size":
        features = bench.feed.features(np.arange(len(bench.table))).numpy()
        return classifier_labels(features, bgsplit.head_of(bench), source="same size"), True
    if kind == "random":
        return random_labels(len(bench.table), num=NUM, seed=0), False
    kept, _ = keep_features(arguments.work / "cache", bench.table, load_backbone(larger.source))
    features = np.asarray(kept.read("features"))
    if kind == "clusters":
        train = np.flatnonzero(np.array(bench.table.split) == "train")
        return cluster_labels(features, num=NUM, seed=0, fit_rows=train), False
    split = draw_split(bench.table, replace(background, draw=draw))
    masks = [bench.table.labels == bench.table.class_ix(category) for category in split.categories]
    excluded = own_classes(larger.labels, masks)
    return classifier_labels(features, bgsplit.head_of(bench), source=larger.source, excluded=excluded), True


def on_adapted(
    arguments: Namespace,
    bench: Workbench,
    labels: AuxiliaryLabels,
    is_own: bool,
    background: BackgroundConfig,
    draw: int,
    kind: str,
) -> list[RunResult]:
    """The methods on one draw, on a trunk that learned `labels` first."""
    home = arguments.work / f"{arguments.data}-{arguments.size}"
    names = {"larger": "all", "without-own": f"without-{draw}"}
    name = names.get(kind, kind)
    rows = sum(part == "train" for part in bench.table.split)
    steps = bgsplit.ADAPT_EPOCHS.steps(replace(TRAINING, checkpoint_every=100), num_images=rows)
    adapted: list[Workbench] = []

    def task_of(split: BackgroundSplit) -> Any:
        if not adapted:
            adapted.append(drained(adapt(bench, labels, steps, folder=home / f"adapted-{name}", is_own=is_own)))
        return adapted[0].task(split, labels, is_own=is_own)

    reports = compare(
        bench.table,
        background,
        {method: find_method(method) for method in METHODS},
        task_of=task_of,
        training=TRAINING,
        epochs=bgsplit.EPOCHS,
        draws=[draw],
        seeds=[0],
        folder=home / f"{name}-adapted-{background.positives}",
    )
    return bgsplit.finished(reports)


if __name__ == "__main__":
    record.main(main)
