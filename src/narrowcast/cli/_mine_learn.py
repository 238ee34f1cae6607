"""What learns features of a pool: background splitting's `FeatureFit`, fed with the pool's photos."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from narrowcast.bgsplit.adapt import adapt
from narrowcast.bgsplit.auxiliary import AuxiliaryLabels, classifier_labels, keep_features
from narrowcast.bgsplit.compare import EpochsConfig
from narrowcast.bgsplit.fit import FeatureFit
from narrowcast.bgsplit.prepare import Workbench, prepare
from narrowcast.bgsplit.train import PseudoLabels
from narrowcast.cli._bgsplit_train import TRAINING, shown
from narrowcast.cli._interrupt import Stop
from narrowcast.cli._progress import Progress
from narrowcast.core.errors import UsageError
from narrowcast.data.image_table import ImageTable
from narrowcast.mine.features import FeatureStore, VersionNote
from narrowcast.mine.pool import Pool
from narrowcast.models.backbones import load_backbone
from narrowcast.models.torch_backbone import TorchBackbone

TRUNK = "trunk"  # folder of a pool: kept maps, the adapted trunk, where learning was left


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnSetting:
    """How features are learned.

    Attributes:
        trained_parts: last parts of the backbone that train.
        epochs: over what is known, for each update; 15 in section 4.3.1.
        adapt: epochs in which the trunk learns the teacher's answers on all photos first.
        teacher: the backbone whose answers are the auxiliary labels; "own": the pool's.
    """

    trained_parts: int = 4
    epochs: float = 15.0
    adapt: float = 0.0
    teacher: str = "own"
    device: str = "auto"


def root_of(pool: Pool, name: str | None = None) -> VersionNote:
    """The version that learned features go back to: that of a backbone as it was published."""
    note = pool.store(name).note
    while note.parent:
        note = FeatureStore.open(pool.path, note.parent).note
    return note


def pool_table(pool: Pool, is_test: np.ndarray | None = None) -> ImageTable:
    """The pool's photos as a table of one class; those of `is_test` are held out.

    Raises:
        UsageError: a photo is in an archive.
    """
    paths = pool.paths()
    inside = next((path for path in paths if "::" in path), None)
    if inside is not None:
        raise UsageError(f"{inside}: features are learned from photos that are files; unpack the archive and index it")
    split = ("train",) * len(paths) if is_test is None else tuple("test" if held else "train" for held in is_test)
    return ImageTable(tuple(map(Path, paths)), np.zeros(len(paths), np.int64), ("photo",), split, Path("/"))


def workbench(
    pool: Pool, root: VersionNote, setting: LearnSetting, device: torch.device, stop: Stop, table: ImageTable
) -> tuple[Workbench, PseudoLabels]:
    """What features are learned from; what is computed once is kept in the pool's folder `trunk`.

    Raises:
        UsageError: the pool's backbone cannot be trained, or the teacher has no classifier.
    """
    folder = pool.path / TRUNK
    network: Any = load_backbone(root.backbone, device=device)
    reports = prepare(table, network, trained_parts=setting.trained_parts, cache=folder)
    bench = shown(reports, "maps", stop)
    labels, is_own = _auxiliary(bench, root.backbone, setting, folder, device, stop)
    if setting.adapt:
        steps = EpochsConfig(epochs=setting.adapt, warmup_epochs=min(0.5, setting.adapt))
        num_images = sum(part == "train" for part in table.split)
        name = f"adapted-{table.image_key()}-{setting.trained_parts}-{setting.teacher}-{setting.adapt:g}"
        adapting = adapt(
            bench,
            labels,
            steps.steps(replace(TRAINING, checkpoint_every=500), num_images=num_images),
            folder=folder / name.replace("/", "-"),
            is_own=is_own,
        )
        bench = shown(adapting, "adapt", stop)
    return bench, PseudoLabels(labels.labels, labels.num, bench.head if is_own else None)


def _auxiliary(
    bench: Workbench, backbone: str, setting: LearnSetting, folder: Path, device: torch.device, stop: Stop
) -> tuple[AuxiliaryLabels, bool]:
    """The teacher's answers, and whether they are of the trunk's own classes."""
    if setting.teacher == "own":
        if bench.head is None:
            raise UsageError("--teacher own: the pool's backbone has no classifier; name another backbone")
        features = bench.feed.features(np.arange(len(bench.table))).numpy()
        return classifier_labels(features, bench.head, source="own"), True
    teacher = load_backbone(setting.teacher, device=device)
    if not isinstance(teacher, TorchBackbone) or teacher.head is None:
        raise UsageError(f"--teacher {setting.teacher}: has no classifier")
    cache, reports = keep_features(folder, bench.table, teacher)
    with Progress("teacher") as progress:
        for report in reports:
            progress.show(report.done, report.total, "")
            stop.exit()
    labels = classifier_labels(np.asarray(cache.read("features")), teacher.head, source=teacher.name)
    return labels, backbone.partition("@")[0] == setting.teacher.partition("@")[0]  # another size of the same network


def learner(
    bench: Workbench, pseudo: PseudoLabels, setting: LearnSetting, folder: Path, *, seed: int = 0
) -> FeatureFit:
    """Learns features by background splitting."""
    epochs = EpochsConfig(epochs=setting.epochs, warmup_epochs=min(0.5, setting.epochs))
    return FeatureFit(bench, pseudo, training=TRAINING, epochs=epochs, folder=folder, seed=seed)
