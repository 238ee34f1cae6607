"""Every method trains, resumes to the bit, and background splitting finds what plain fine-tuning does not."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from narrowcast.bgsplit.auxiliary import AuxiliaryLabels, classifier_labels, random_labels
from narrowcast.bgsplit.compare import EpochsConfig, RunResult, compare, paired, score
from narrowcast.bgsplit.method import METHODS, MethodConfig, find_method
from narrowcast.bgsplit.prepare import Workbench, drained, prepare
from narrowcast.bgsplit.train import RareClassifier, Task, train
from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.training import TrainConfig
from narrowcast.data.background import BackgroundConfig, draw_split
from narrowcast.data.image_table import ImageTable
from narrowcast.models.torch_backbone import TorchBackbone

BACKGROUND = BackgroundConfig(num_categories=2, positives=4)
TRAINING = TrainConfig(
    steps=8, batch_size=32, learning_rate=1e-2, warmup_steps=2, checkpoint_every=3, report_every=2, precision="float32"
)


@pytest.fixture
def bench(table: ImageTable, backbone: TorchBackbone, cache: Path) -> Workbench:
    return drained(prepare(table, backbone, trained_parts=2, cache=cache))


@pytest.fixture
def auxiliary(bench: Workbench) -> AuxiliaryLabels:
    assert bench.head is not None
    features = bench.feed.features(np.arange(len(bench.table)))
    return classifier_labels(features.numpy(), bench.head, source="own")


@pytest.fixture
def task(bench: Workbench, auxiliary: AuxiliaryLabels) -> Task:
    return bench.task(draw_split(bench.table, BACKGROUND), auxiliary, is_own=True)


def run(
    task: Task, method: MethodConfig, folder: Path, *, stop_after: int | None = None
) -> tuple[RareClassifier | None, list[float]]:
    reports, losses = train(task, method, TRAINING, folder=folder), []
    while stop_after is None or len(losses) < stop_after:
        try:
            losses.append(next(reports).loss)
        except StopIteration as stopped:
            return stopped.value, losses
    reports.close()
    return None, losses


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_probabilities(name: str, task: Task, tmp_path: Path) -> None:
    classifier, losses = run(task, METHODS[name], tmp_path)
    assert classifier is not None
    scores = classifier.scores(task, task.split.test_rows)
    assert scores.shape == (len(task.split.test_rows), 3)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-5)
    assert bool(losses) == METHODS[name].is_trained
    evaluation = score(classifier, task)
    assert 0 < evaluation.map <= 1
    assert [one.category for one in evaluation.categories] == list(task.split.categories)


@pytest.mark.parametrize("name", ["bgsplit", "ldam", "balanced-sampling", "lws"])
def test_a_killed_training_ends_as_the_whole_one(name: str, task: Task, tmp_path: Path) -> None:
    whole, losses = run(task, METHODS[name], tmp_path / "whole")
    _, before = run(task, METHODS[name], tmp_path / "cut", stop_after=2)
    resumed, after = run(task, METHODS[name], tmp_path / "cut")
    assert whole is not None
    assert resumed is not None
    assert before + after == losses
    rows = task.split.test_rows
    np.testing.assert_array_equal(whole.scores(task, rows), resumed.scores(task, rows))


def test_training_leaves_the_trunk_of_the_task_alone(task: Task, tmp_path: Path) -> None:
    before = [parameter.clone() for parameter in task.trunk.parameters()]
    run(task, find_method("bgsplit"), tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(before, task.trunk.parameters(), strict=True))


def test_a_training_that_starts_at_the_probe_begins_with_its_decisions(task: Task, tmp_path: Path) -> None:
    """With a learning rate of almost nothing the classifier is the probe, whatever the background is."""
    ranks = []
    for clamp in (False, True):
        method = MethodConfig(start="probe", clamp=clamp, trunk_rate=1e-9, main_rate=1e-9)
        classifier, _ = run(task, method, tmp_path / str(clamp))
        assert classifier is not None
        ranks.append(classifier.scores(task, task.split.test_rows))
    np.testing.assert_allclose(ranks[0], ranks[1], atol=1e-3)


def test_maps_that_were_kept_give_what_the_images_give(
    bench: Workbench, table: ImageTable, backbone: TorchBackbone, cache: Path
) -> None:
    images = drained(prepare(table, backbone, trained_parts=-1, cache=cache))
    rows = np.arange(5)
    torch.testing.assert_close(bench.feed.features(rows), images.feed.features(rows), rtol=0.02, atol=0.02)
    whole = torch.cat([images.trunk(batch) for batch in images.feed.plain(rows)])
    kept = torch.cat([bench.trunk(batch) for batch in bench.feed.plain(rows)])
    torch.testing.assert_close(whole, kept, rtol=0.02, atol=0.02)


def test_images_from_disk_train_too(table: ImageTable, backbone: TorchBackbone, cache: Path, tmp_path: Path) -> None:
    images = drained(prepare(table, backbone, trained_parts=-1, cache=cache))
    task = images.task(draw_split(table, BACKGROUND), random_labels(len(table), num=5, seed=0))
    classifier, losses = run(task, METHODS["bgsplit"], tmp_path)
    assert classifier is not None
    assert len(losses) == 4


def test_methods_that_need_pseudo_labels_say_so(bench: Workbench, tmp_path: Path) -> None:
    task = bench.task(draw_split(bench.table, BACKGROUND), None)
    with pytest.raises(UsageError, match="it needs pseudo-labels"):
        run(task, METHODS["bgsplit"], tmp_path)
    with pytest.raises(UsageError, match="7 auxiliary labels for 240 images; they disagree"):
        bench.task(draw_split(bench.table, BACKGROUND), random_labels(7, num=2, seed=0))


def test_an_unknown_method_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"no method 'bgsplt' \(did you mean 'bgsplit'\?\)"):
        find_method("bgsplt")
    with pytest.raises(ConfigError, match="clamp has no meaning with ldam"):
        MethodConfig(loss="ldam", clamp=True)


def compared(bench: Workbench, auxiliary: AuxiliaryLabels, folder: Path, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "task_of": lambda split: bench.task(split, auxiliary, is_own=True),
        "training": dataclasses.replace(TRAINING, report_every=1),
        "epochs": EpochsConfig(epochs=1.0, warmup_epochs=0.2),
        "draws": (0, 1),
        "seeds": (0,),
        "folder": folder,
    }
    methods = {name: METHODS[name] for name in ("ft", "probe")}
    return compare(bench.table, BACKGROUND, methods, **options | changes)


def test_a_comparison_that_is_killed_ends_with_the_same_numbers(
    bench: Workbench, auxiliary: AuxiliaryLabels, tmp_path: Path
) -> None:
    list(compared(bench, auxiliary, tmp_path / "whole"))
    cut = compared(bench, auxiliary, tmp_path / "cut")
    list(itertools.islice(cut, 9))
    cut.close()
    list(compared(bench, auxiliary, tmp_path / "cut"))
    whole, resumed = (read_numbers(tmp_path / name) for name in ("whole", "cut"))
    assert [entry["method"] for entry in whole] == ["ft", "probe"] * 2
    assert whole == resumed


def read_numbers(folder: Path) -> list[dict[str, Any]]:
    import json

    entries = json.loads((folder / "summary.json").read_text())
    expected = {"method", "seed", "draw", "background", "map", "f1", "ap_per_category", "seconds"}
    assert all(expected <= entry.keys() for entry in entries)
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]


def result(method: str, draw: int, seed: int, aps: dict[str, float]) -> RunResult:
    return RunResult(method, seed, draw, 0.99, 0.0, 0.0, 0.0, aps, 1.0, 0.0, {})


def test_differences_are_paired_by_draw_and_category() -> None:
    """Seeds are averaged first: two runs on the same images are not two data points."""
    results = [
        result("a", 0, 0, {"x": 0.5, "y": 0.2}),
        result("a", 0, 1, {"x": 0.7, "y": 0.2}),
        result("b", 0, 0, {"x": 0.3, "y": 0.1}),
        result("a", 1, 0, {"x": 0.9}),
        result("b", 1, 0, {"x": 0.7}),
        result("a", 2, 0, {"z": 0.9}),
    ]
    found = paired(results, "a", "b")
    gaps = np.array([0.3, 0.1, 0.2])
    assert found.num == 3
    assert found.mean == pytest.approx(gaps.mean())
    assert found.error == pytest.approx(gaps.std(ddof=1) / 3**0.5)
