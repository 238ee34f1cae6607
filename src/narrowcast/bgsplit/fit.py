"""Features learned from a pool's labels: what mining is handed for its feature updates (section 4.2, line 19).

`mine(..., update=...)` calls `fit(labels)` every so many labels; nothing here knows of mining.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor, nn

from narrowcast.bgsplit.compare import EpochsConfig
from narrowcast.bgsplit.feed import run_trunk
from narrowcast.bgsplit.loss import auxiliary_loss, multi_label_loss
from narrowcast.bgsplit.method import BG_SPLIT, MethodConfig
from narrowcast.bgsplit.net import FeatureScale, SplitNet, scale_of
from narrowcast.bgsplit.prepare import Workbench
from narrowcast.bgsplit.train import PseudoLabels
from narrowcast.core import checkpoint
from narrowcast.core.errors import UsageError
from narrowcast.core.runtime import seeded
from narrowcast.core.training import CHECKPOINT, TrainConfig, Trainer, TrainReport, sample_numbers
from narrowcast.data.image_batches import ShuffledEpochs

POSITIVE, UNKNOWN_TO_POOL = 1, 0  # of a pool's labels; negatives, human (−1) or pseudo (−2), are below zero


@final
class FeatureFit:
    """`fit(labels)` trains from where it was left and gives the features of every row of the workbench's table.

    Labels are (rows, categories): 1 positive, −1 negative, −2 pseudo-negative, 0 unknown. A row trains where any
    category knows it; categories that do not, do not count there (multi-label loss with missing labels). The auxiliary
    loss counts on all of these rows.
    """

    def __init__(
        self,
        bench: Workbench,
        pseudo: PseudoLabels,
        *,
        training: TrainConfig,
        epochs: EpochsConfig,
        folder: Path,
        method: MethodConfig = BG_SPLIT,
        seed: int = 0,
        on_report: Callable[[TrainReport], None] = lambda report: None,
    ) -> None:
        self.bench, self.pseudo, self.method, self.seed = bench, pseudo, method, seed
        self.training, self.epochs, self.folder, self.on_report = training, epochs, folder, on_report
        self.num_fits = 0
        self._net: SplitNet | None = None

    def __call__(self, labels: Shaped[np.ndarray, "rows categories"]) -> Float32[np.ndarray, "rows dim"]:
        """Train on what is known and embed everything.

        Raises:
            UsageError: the labels are of another table, or of other categories than before, or none is known.
        """
        if len(labels) != len(self.bench.table):
            raise UsageError(f"{len(labels)} rows of labels for {len(self.bench.table)} images; they disagree")
        rows = np.flatnonzero((labels != UNKNOWN_TO_POOL).any(1))
        if not len(rows):
            raise UsageError("no label is known; features cannot be learned from nothing")
        net = self._net = self._network(rows, labels.shape[1])
        self._train(net, rows, torch.from_numpy(known_labels(labels[rows])))
        self.num_fits += 1
        everything = np.arange(len(self.bench.table))
        return run_trunk(net.trunk, self.bench.feed.plain(everything), device=self.bench.device).numpy()

    @property
    def trunk(self) -> nn.Module | None:
        """The trained part of the trunk as it was left; None before the first fit."""
        return self._net.trunk if self._net is not None else None

    def save(self, path: Path, categories: Sequence[str]) -> None:
        """Write where it was left; `categories` names the columns.

        Raises:
            StorageError: the file cannot be written.
        """
        assert self._net is not None
        meta = {"categories": list(categories), "fits": self.num_fits, "spread": self._net.spread}
        checkpoint.save(path, self._net.state_dict(), meta=meta)

    def resume(self, path: Path, categories: Sequence[str]) -> bool:
        """Go on from a file of `save`; categories that are new there begin anew. False where there is no file.

        Raises:
            WeightsError: it is damaged or of another trunk.
        """
        if not path.exists():
            return False
        tensors, meta = checkpoint.load(path)
        before = list(meta["categories"])
        scale = FeatureScale(tensors["mean"], meta["spread"], self.method.features == "normalised")
        net = self._made(scale, len(categories))
        for name in ("main.weight", "main.bias"):
            rows, old = net.state_dict()[name].clone(), tensors[name]
            for ix, category in enumerate(categories):
                if category in before:
                    rows[ix] = old[before.index(category)]
            tensors[name] = rows
        checkpoint.load_into(net, tensors, source=str(path))
        self._net, self.num_fits = net.to(self.bench.device), meta["fits"]
        return True

    def _network(self, rows: np.ndarray, num_categories: int) -> SplitNet:
        if self._net is not None:
            if self._net.main.out_features != num_categories:
                raise UsageError(f"{num_categories} categories, but {self._net.main.out_features} before")
            return self._net
        scale = scale_of(self.bench.feed.features(rows), self.method.features)
        net = self._made(scale, num_categories)
        if self.pseudo.head is not None:
            net.load_auxiliary(self.pseudo.head)
        return net.to(self.bench.device)

    def _made(self, scale: FeatureScale, num_categories: int) -> SplitNet:
        with seeded(self.seed):
            return SplitNet(
                copy.deepcopy(self.bench.trunk).requires_grad_(True),  # one that was adapted comes frozen
                scale,
                num_categories=num_categories,
                num_auxiliary=self.pseudo.num,
                background_logit=self.method.background_logit,
                norm=self.method.norm,
            )

    def _train(self, net: SplitNet, rows: np.ndarray, targets: Tensor) -> None:
        method, device = self.method, self.bench.device
        batch_size = min(self.training.batch_size, len(rows))
        config = self.epochs.steps(replace(self.training, batch_size=batch_size), num_images=len(rows))
        rates = {name: getattr(method, name) for name in ("trunk_rate", "main_rate", "auxiliary_rate")}
        seed = self.seed + self.num_fits  # other batches each time
        folder = self.folder / f"fit-{self.num_fits}"
        trainer = Trainer(
            net, config, folder=folder, groups=net.groups(**rates), seed=seed, set_modes=SplitNet.set_modes
        )
        targets, pseudo = targets.to(device), torch.from_numpy(self.pseudo.labels[rows]).to(device)

        def loss(net: nn.Module, inputs: Tensor, positions: Tensor) -> Tensor:
            outputs = net(inputs)
            main = multi_label_loss(outputs.main[:, 1:], targets[positions], background_logit=method.background_logit)
            return main + method.auxiliary_weight * auxiliary_loss(outputs.auxiliary.float(), pseudo[positions])

        order = ShuffledEpochs(len(rows), seed=seed)
        samples = self.bench.feed.samples(rows, sample_numbers(config, first_step=0), order=order, seed=seed)
        for report in trainer.run(samples, loss):
            self.on_report(report)
        net.load_state_dict(trainer.averaged.state_dict())
        (folder / CHECKPOINT).unlink(missing_ok=True)


def known_labels(labels: Shaped[np.ndarray, "rows categories"]) -> Shaped[np.ndarray, "rows categories"]:
    """A pool's labels as the loss takes them: 1 positive, 0 negative of either kind, −1 unknown.

    >>> known_labels(np.array([[1, -1, -2, 0]])).tolist()
    [[1, 0, 0, -1]]
    """
    return np.where(labels == POSITIVE, 1, np.where(labels == UNKNOWN_TO_POOL, -1, 0)).astype(np.int64)
