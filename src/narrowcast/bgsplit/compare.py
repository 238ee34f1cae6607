"""A table of methods over draws and seeds, one run after the other, resumable: what `compare` runs."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from narrowcast.bgsplit.evaluate import Evaluation, evaluate
from narrowcast.bgsplit.method import MethodConfig
from narrowcast.bgsplit.train import RareClassifier, Task, train
from narrowcast.core.config import to_dict
from narrowcast.core.errors import ConfigError, StorageError
from narrowcast.core.files import write_json
from narrowcast.core.training import TrainConfig
from narrowcast.data.background import BackgroundConfig, BackgroundSplit, draw_split
from narrowcast.data.image_table import ImageTable

SUMMARY = "summary.json"
BACKGROUND_ROWS = 4096  # of the training background that thresholds are chosen on; ours


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochsConfig:
    """How often the training images are seen; the steps of `TrainConfig` follow from it."""

    epochs: float = 3.0  # ours, for a trunk of which only the last blocks train
    warmup_epochs: float = 0.5  # ours; 1 of 90 in the thesis (recounted)

    def __post_init__(self) -> None:
        if self.epochs <= 0 or not 0 <= self.warmup_epochs <= self.epochs:
            raise ConfigError("[epochs] epochs must be positive, warmup_epochs from 0 to epochs")

    def steps(self, training: TrainConfig, *, num_images: int) -> TrainConfig:
        """`training` with the steps that make these epochs over `num_images`."""
        per_epoch = num_images / training.batch_size
        steps = max(1, round(self.epochs * per_epoch))
        return replace(training, steps=steps, warmup_steps=min(steps, round(self.warmup_epochs * per_epoch)))


@dataclass(frozen=True, slots=True)
class RunResult:
    """One method on one draw with one seed: an entry of `summary.json`."""

    method: str
    seed: int
    draw: int
    background: float
    map: float
    f1: float
    f1_threshold: float
    ap_per_category: dict[str, float]
    seconds: float
    loss: float
    evaluation: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Without the evaluation, which stays in the run's own file."""
        return {key: getattr(self, key) for key in self.__slots__ if key != "evaluation"}


@dataclass(frozen=True, slots=True)
class CompareReport:
    """`done` of `total` steps over all runs, while `run` is at work; `result` when it has ended."""

    done: int
    total: int
    run: str
    loss: float
    result: RunResult | None = None


def compare(
    table: ImageTable,
    background: BackgroundConfig,
    methods: Mapping[str, MethodConfig],
    *,
    task_of: Callable[[BackgroundSplit], Task],
    training: TrainConfig,
    epochs: EpochsConfig,
    draws: Sequence[int],
    seeds: Sequence[int],
    folder: Path,
) -> Generator[CompareReport, None, list[RunResult]]:
    """Run every method on every draw with every seed; results that are in `folder` already are kept.

    `summary.json` is whole after each run. The same draw has the same images for every method: compare them in pairs.
    """
    runs = [(draw, seed, name) for draw in draws for seed in seeds for name in methods]
    results: list[RunResult] = []
    for ix, (draw, seed, name) in enumerate(runs):
        own = folder / "runs" / f"draw{draw}-seed{seed}-{name}.json"
        result = _read(own)
        if result is None:
            split = draw_split(table, replace(background, draw=draw))
            stage = folder / "runs" / f"draw{draw}-seed{seed}-{_digest(methods[name].first_stage)}"
            task, steps = task_of(split), epochs.steps(training, num_images=len(split.train_rows))
            reports = train(task, methods[name], steps, folder=stage, seed=seed)
            classifier, clock = None, _Clock(stage)
            while classifier is None:
                try:
                    report = next(reports)
                    clock.loss = report.loss
                    clock.save()
                    share = round(1000 * (ix + report.done / report.total))
                    yield CompareReport(share, len(runs) * 1000, own.stem, report.loss)
                except StopIteration as stopped:
                    classifier = stopped.value
            seconds = clock.seconds
            result = _result(name, seed, draw, task, score(classifier, task), seconds=seconds, loss=clock.loss)
            write_json(own, to_dict(result))
        results.append(result)
        write_json(folder / SUMMARY, [one.to_json() for one in results])
        if name == list(methods)[-1]:
            _tidy(folder / "runs", f"draw{draw}-seed{seed}-")
        yield CompareReport((ix + 1) * 1000, len(runs) * 1000, own.stem, result.loss, result)
    return results


def _digest(method: MethodConfig) -> str:
    """Names the training that methods with different second stages share."""
    return hashlib.sha256(json.dumps(to_dict(method), sort_keys=True).encode()).hexdigest()[:8]


def _tidy(folder: Path, prefix: str) -> None:
    """Delete the checkpoints of trainings that will not go on: they are large."""
    for stage in folder.glob(f"{prefix}*"):
        if stage.is_dir():
            shutil.rmtree(stage)


class _Clock:
    """Seconds of a training, over interruptions and the methods that share it, and its last loss."""

    def __init__(self, folder: Path) -> None:
        self._path, self._started = folder / "clock.json", time.perf_counter()
        self._before, self.loss = 0.0, 0.0
        with contextlib.suppress(OSError, ValueError, KeyError):
            note = json.loads(self._path.read_text(encoding="utf-8"))
            self._before, self.loss = note["seconds"], note["loss"]

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def save(self) -> None:
        write_json(self._path, {"seconds": self.seconds, "loss": self.loss})


def score(classifier: RareClassifier, task: Task) -> Evaluation:
    """On the test rows of the task's split, with thresholds chosen on its training rows.

    Of the background's training rows every n-th stands for n, so that scoring them costs less than training.
    """
    split = task.split
    every = max(1, int(split.counts[0]) // BACKGROUND_ROWS)
    background = np.flatnonzero(split.train_labels == 0)[::every]
    chosen = np.concatenate([np.flatnonzero(split.train_labels), background])
    repeats = np.where(split.train_labels[chosen] == 0, every, 1)
    train_scores = classifier.scores(task, split.train_rows[chosen])
    return evaluate(
        classifier.scores(task, split.test_rows),
        split.test_labels,
        categories=split.categories,
        evaluated=split.evaluated,
        train_scores=train_scores.repeat(repeats, axis=0),
        train_labels=split.train_labels[chosen].repeat(repeats),
    )


def _result(
    name: str,
    seed: int,
    draw: int,
    task: Task,
    evaluation: Evaluation,
    *,
    seconds: float,
    loss: float,
) -> RunResult:
    return RunResult(
        method=name,
        seed=seed,
        draw=draw,
        background=task.split.background,
        map=evaluation.map,
        f1=evaluation.f1,
        f1_threshold=evaluation.f1_threshold,
        ap_per_category={one.category: one.ap for one in evaluation.categories},
        seconds=seconds,
        loss=loss,
        evaluation=evaluation.to_json(),
    )


def _read(path: Path) -> RunResult | None:
    if not path.exists():
        return None
    try:
        return RunResult(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{path}: damaged; delete it and run again ({error})") from error


@dataclass(frozen=True, slots=True)
class Difference:
    """`method` less `other` over the runs that both have: the mean and its standard error.

    The unit is a category of a draw: its seeds are averaged first, since they are not independent data.
    """

    method: str
    other: str
    mean: float
    error: float
    num: int


def paired(results: Sequence[RunResult], method: str, other: str) -> Difference:
    """The paired difference in AP of two methods."""
    ours, theirs = _aps(results, method), _aps(results, other)
    shared = sorted(ours.keys() & theirs.keys())
    differences = np.array([np.mean(ours[key]) - np.mean(theirs[key]) for key in shared])
    num = len(differences)
    error = float(differences.std(ddof=1) / num**0.5) if num > 1 else float("nan")
    return Difference(method, other, float(differences.mean()) if num else float("nan"), error, num)


def _aps(results: Sequence[RunResult], method: str) -> dict[tuple[int, str], list[float]]:
    found: dict[tuple[int, str], list[float]] = {}
    for result in results:
        if result.method == method:
            for category, ap in result.ap_per_category.items():
                found.setdefault((result.draw, category), []).append(ap)
    return found
