"""A trunk that first learns the auxiliary task of all images, without any label.

Ours, beside section 5.4.4's decoupled training: it is done once for a table, whatever is looked for in it later, and is
the start for every method that follows. It pays where the images are not what the trunk was trained on.
"""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np

from narrowcast.bgsplit.auxiliary import AuxiliaryLabels
from narrowcast.bgsplit.method import MethodConfig
from narrowcast.bgsplit.prepare import Workbench
from narrowcast.bgsplit.train import train
from narrowcast.core.errors import UsageError
from narrowcast.core.training import TrainConfig, TrainReport
from narrowcast.data.background import BackgroundSplit

ADAPTING = MethodConfig(auxiliary_weight=1.0, train="auxiliary-first", start="zero", auxiliary_rate=1.0)


def adapt(
    bench: Workbench, auxiliary: AuxiliaryLabels, training: TrainConfig, *, folder: Path, is_own: bool, seed: int = 0
) -> Generator[TrainReport, None, Workbench]:
    """Train the trunk on the auxiliary labels of all training images; the generator's value is the workbench with it.

    No label of a category is used. The checkpoint in `folder` stays, so that the next call has nothing to do.

    Raises:
        UsageError: nothing of the backbone trains.
    """
    if not list(bench.trunk.parameters()):
        raise UsageError("adapting needs parts of the backbone that train: trained_parts is 0")
    rows = np.flatnonzero(np.array(bench.table.split) == "train")
    nothing = np.zeros(0, np.int64)
    unlabelled = BackgroundSplit(("none",), rows, np.zeros(len(rows), np.int64), nothing, nothing)
    task = bench.task(unlabelled, auxiliary, is_own=is_own)
    classifier = yield from train(task, ADAPTING, training, folder=folder, seed=seed)
    trunk, head = classifier.net.trunk, classifier.net.auxiliary_head()
    return replace(bench, feed=bench.feed.with_trunk(trunk, bench.device), trunk=trunk, head=head)
