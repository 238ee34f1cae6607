"""A trunk that first learns the auxiliary task of all images, without any label.

Ours, beside section 5.4.4's decoupled training: it is done once for a table, whatever is looked for in it later, and is
the start for every method that follows. It pays where the images are not what the trunk was trained on.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from narrowcast.bgsplit.auxiliary import AuxiliaryLabels
from narrowcast.bgsplit.method import MethodConfig
from narrowcast.bgsplit.net import Norm
from narrowcast.bgsplit.prepare import Workbench
from narrowcast.bgsplit.train import train
from narrowcast.core.errors import ConfigError, DivergedError, UsageError
from narrowcast.core.training import CHECKPOINT, TrainConfig, TrainReport
from narrowcast.data.background import BackgroundSplit

NUM_COMPARED, LEAST_SPREAD = 64, 0.001  # images; of the spread before. Of a trunk that died it was 0; ours
ADAPTING = MethodConfig(auxiliary_weight=1.0, train="auxiliary-first", start="zero", auxiliary_rate=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptConfig:
    """How the trunk learns; see `MethodConfig`. A whole trunk dies at the rate that its last parts take."""

    trunk_rate: float = 1.0
    norm: Norm = "frozen"

    def __post_init__(self) -> None:
        if self.trunk_rate <= 0:
            raise ConfigError(f"[adapt] trunk_rate = {self.trunk_rate:g}: must be positive")


def adapt(
    bench: Workbench,
    auxiliary: AuxiliaryLabels,
    training: TrainConfig,
    *,
    folder: Path,
    is_own: bool,
    config: AdaptConfig = AdaptConfig(),
    seed: int = 0,
) -> Generator[TrainReport, None, Workbench]:
    """Train the trunk on the auxiliary labels of all training images; the generator's value is the workbench with it.

    No label of a category is used. The checkpoint in `folder` stays, so that the next call has nothing to do;
    not that of a trunk that died.

    Raises:
        UsageError: nothing of the backbone trains.
        DivergedError: all images look the same to the trunk that came of it.
    """
    if not list(bench.trunk.parameters()):
        raise UsageError("adapting needs parts of the backbone that train: trained_parts is 0")
    rows = np.flatnonzero(np.array(bench.table.split) == "train")
    nothing = np.zeros(0, np.int64)
    unlabelled = BackgroundSplit(("none",), rows, np.zeros(len(rows), np.int64), nothing, nothing)
    task = bench.task(unlabelled, auxiliary, is_own=is_own)
    method = replace(ADAPTING, trunk_rate=config.trunk_rate, norm=config.norm)
    classifier = yield from train(task, method, training, folder=folder, seed=seed)
    trunk, head = classifier.net.trunk, classifier.net.auxiliary_head()
    adapted = replace(bench, feed=bench.feed.with_trunk(trunk, bench.device), trunk=trunk, head=head)
    few = rows[:NUM_COMPARED]
    if len(few) > 1 and _spread(adapted, few) < LEAST_SPREAD * _spread(bench, few):
        (folder / CHECKPOINT).unlink(missing_ok=True)  # else the next try would go on from it
        raise DivergedError(
            f"{folder}: adapted too fast, all images look the same to the trunk now;"
            " train fewer of its parts, or with a lower adapt.trunk_rate"
        )
    return adapted


def _spread(bench: Workbench, rows: Int64[np.ndarray, " n"]) -> float:
    """How far features are from their mean, as a share of their length."""
    features = bench.feed.features(rows)
    length = float(features.norm(dim=1).mean())
    return float((features - features.mean(0)).norm(dim=1).mean()) / length if length else 0.0
