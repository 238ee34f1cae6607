"""What `narrowcast mine update` does, apart from parsing."""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from narrowcast.bgsplit.fit import FeatureFit
from narrowcast.cli._interrupt import Stop, stop_on_signal
from narrowcast.cli._mine_learn import TRUNK, LearnSetting, learner, pool_table, root_of, workbench
from narrowcast.cli._progress import Progress
from narrowcast.core.errors import UsageError
from narrowcast.core.runtime import pick_device, seed_everything
from narrowcast.mine.features import FEATURES, WEIGHTS, VersionNote
from narrowcast.mine.indexing import write_version
from narrowcast.mine.labels import LabelLog
from narrowcast.mine.miner import PoolFacts
from narrowcast.mine.pool import Pool
from narrowcast.mine.session import MiningSession
from narrowcast.mine.updates import Update, UpdateConfig, beside, update_features
from narrowcast.models.backbones import load_backbone
from narrowcast.models.torch_backbone import TorchBackbone
from narrowcast.models.trained_backbone import load_trained, save_trained

LEFT = "fit.safetensors"  # where learning was left
POLL_S = 2.0  # between two looks at the log


def run(
    folder: Path, names: list[str], setting: LearnSetting, strategy: str, *, every: int, seed: int = 0, as_json: bool
) -> None:
    """Learn features from the labels, once, or whenever `every` new ones are there until it is ended."""
    seed_everything(seed)
    with stop_on_signal("this step") as stop:
        updater = _Updater(folder, names, setting, strategy, seed, stop)
        while True:
            _answer(updater.update(), as_json)
            if not every or not updater.wait(every):
                break
        stop.exit()


class _Updater:
    """A pool whose features are learned: the workbench stays in memory between two updates."""

    def __init__(
        self, folder: Path, names: list[str], setting: LearnSetting, strategy: str, seed: int, stop: Stop
    ) -> None:
        self.pool, self.names, self.setting, self.strategy = Pool.open(folder), names, setting, strategy
        self.seed, self.stop, self.device = seed, stop, pick_device(setting.device)
        self.root, self.categories = root_of(self.pool), self._categories()
        self.left = folder / TRUNK / LEFT
        self.fit: FeatureFit | None = None
        self.num_photos = self.num_seen = 0

    def _prepared(self) -> FeatureFit:
        """What learns, as it was left; made anew where the pool has grown."""
        if self.fit is None or len(self.pool) != self.num_photos:
            self.num_photos = len(self.pool)
            table = pool_table(self.pool)
            bench, pseudo = workbench(self.pool, self.root, self.setting, self.device, self.stop, table)
            self.fit = learner(bench, pseudo, self.setting, self.pool.path / TRUNK / "runs", seed=self.seed)
            self.fit.resume(self.left, self.categories)
        return self.fit

    def _categories(self) -> list[str]:
        with LabelLog.open(self.pool.path) as log:
            known = log.categories()
            for name in self.names:
                log.labels(name)  # is there such a category?
            if not known:
                raise UsageError(f"{self.pool.path}: has no category yet; begin one with narrowcast mine new")
            return self.names or list(known)

    def update(self) -> dict[str, Any]:
        """Learn, judge, keep beside the old, promote what wins; what came of it."""
        started = time.perf_counter()
        self.num_seen, self.pool = self._num_labels(), Pool.open(self.pool.path)
        with self.pool.locked():
            fit = self._prepared()
            found = self._learn(fit)
            fit.save(self.left, self.categories)
            version = self._keep(found, fit)
        told = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(found.promotion).items()
        }
        return told | {"version": version, "labels": self.num_seen, "seconds": round(time.perf_counter() - started, 1)}

    def _learn(self, fit: FeatureFit) -> Update:
        config = UpdateConfig(seed=self.seed + fit.num_fits)
        features = self.pool.features()
        facts = PoolFacts(features)
        with LabelLog.open(self.pool.path) as log, Progress("learn features") as progress:
            common = {"method": self.strategy, "features": features, "facts": facts}
            miners = {name: MiningSession(self.pool, log, name, **common).miner for name in self.categories}
            fit.on_report = lambda report: progress.show(report.done, report.total, f"loss {report.loss:.3f}")
            learned = beside(self.pool.features(self.root.name), fit)
            return update_features(miners, learned, items=self.pool.items(), config=config, facts=facts)

    def _keep(self, found: Update, fit: FeatureFit) -> str:
        """Write the new version beside the old ones, with the weights that make it; choose it if it won."""
        names = self.pool.versions()
        name = next(made for ix in range(1, len(names) + 2) if (made := f"{self.root.name}+{ix}") not in names)
        weights = self.pool.path / FEATURES / name / WEIGHTS
        base = load_backbone(self.root.backbone)
        assert isinstance(base, TorchBackbone)
        assert fit.trunk is not None
        save_trained(weights, fit.trunk, base=base, trained_parts=self.setting.trained_parts)
        note = VersionNote(
            name=name,
            key=load_trained(base, weights).key,
            dim=found.features.shape[1],
            backbone=f"{self.root.backbone}+{WEIGHTS}",
            preprocessing=self.root.preprocessing,
            parent=names[0],
        )
        write_version(self.pool, note, found.features)
        if found.promotion.is_promoted:
            self.pool.choose(name)
        return name

    def wait(self, every: int) -> bool:
        """Wait until there are `every` labels more; False where an end was asked for first."""
        with Progress("waiting for labels") as progress:
            while not self.stop.is_asked:
                new = self._num_labels() - self.num_seen
                progress.show(max(0, new), None, f"of {every} new labels")
                if new >= every:
                    return True
                time.sleep(POLL_S)
        return False

    def _num_labels(self) -> int:
        with LabelLog.open(self.pool.path) as log:
            return sum(len(log.labels(name).train) for name in self.categories)


def _answer(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(told))
        return
    verdict = "promoted: what is asked from now on is ranked by it" if told["is_promoted"] else "kept, not promoted"
    typer.echo(f"{told['version']}: {verdict}\n  {told['reason']}")
    for one in told["categories"]:
        typer.echo(
            f"  {one['category']}: {one['score']:.3f}, before {one['score_before']:.3f} ({one['positives']} set aside)"
        )
