"""Several categories an image, and labels with gaps: learned from, and scored, where they are known."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from narrowcast.bgsplit.auxiliary import random_labels
from narrowcast.bgsplit.evaluate import evaluate_known
from narrowcast.bgsplit.method import METHODS
from narrowcast.bgsplit.multi_label import MultiTask, log_probabilities, score_multi_label, train_multi_label
from narrowcast.bgsplit.prepare import Workbench, drained, prepare
from narrowcast.bgsplit.train import PseudoLabels, RareClassifier
from narrowcast.core.errors import UsageError
from narrowcast.core.training import TrainConfig
from narrowcast.data.image_table import ImageTable
from narrowcast.data.known_labels import KnownLabels
from narrowcast.metrics.ranking import average_precision
from narrowcast.models.torch_backbone import TorchBackbone

TRAINING = TrainConfig(
    steps=60, batch_size=16, learning_rate=0.02, optimizer="sgd", warmup_steps=2, average=0.0, precision="float32"
)


@pytest.fixture
def bench(table: ImageTable, backbone: TorchBackbone, cache: Path) -> Workbench:
    return drained(prepare(table, backbone, trained_parts=2, cache=cache))


@pytest.fixture
def known(table: ImageTable) -> KnownLabels:
    """Two categories of overlapping colours; every other label is missing."""
    labels = np.stack([table.labels < 3, (table.labels > 1) & (table.labels < 4)], 1).astype(np.int64)
    gaps = np.random.default_rng(0).random(labels.shape) < 0.5
    return KnownLabels(table, np.where(gaps, -1, labels), ("some", "others"))


def value_of(reports: Generator[object, None, RareClassifier]) -> RareClassifier:
    while True:
        try:
            next(reports)
        except StopIteration as stopped:
            return stopped.value


def task_of(bench: Workbench, known: KnownLabels) -> MultiTask:
    made = random_labels(len(bench.table), num=6, seed=0)
    return MultiTask(bench, known, PseudoLabels(made.labels, made.num))


def test_both_categories_of_an_image_are_learned_from_labels_with_gaps(
    bench: Workbench, known: KnownLabels, tmp_path: Path
) -> None:
    task = task_of(bench, known)
    trained = value_of(train_multi_label(task, METHODS["bgsplit"], TRAINING, folder=tmp_path / "a"))
    found = score_multi_label(trained, bench, known)
    test = known.rows("test")
    assert [one.known for one in found.categories] == (known.labels[test] != -1).sum(0).tolist()
    assert found.map > 0.75  # chance is the share of positives, .38 and .25
    chances = np.exp(log_probabilities(trained, bench, test))
    both = bench.table.labels[test] == 2  # an image may be likely of several
    assert chances[both].mean(0).min() > chances[bench.table.labels[test] > 3].mean(0).max()
    resumed = value_of(train_multi_label(task, METHODS["bgsplit"], TRAINING, folder=tmp_path / "a"))
    np.testing.assert_array_equal(log_probabilities(resumed, bench, test), log_probabilities(trained, bench, test))


def test_a_category_is_scored_on_its_known_labels_alone(rng: np.random.Generator) -> None:
    labels = rng.integers(-1, 2, (60, 2))
    scores = -rng.random((60, 2)).astype(np.float32)
    found = evaluate_known(scores, labels, categories=("a", "b"), train_scores=scores, train_labels=labels)
    for ix, one in enumerate(found.categories):
        rows = [row for row in range(60) if labels[row, ix] >= 0]
        assert one.ap == average_precision(scores[rows, ix], labels[rows, ix] == 1)
        assert (one.known, one.positives) == (len(rows), (labels[:, ix] == 1).sum())
        called = [row for row in rows if np.exp(scores[row, ix]) >= 0.5]
        assert one.precision == pytest.approx(np.mean(labels[called, ix] == 1))
    assert found.map == pytest.approx(np.mean([one.ap for one in found.categories]))


@pytest.mark.parametrize("name", ["focal", "probe", "lws", "bgsplit-warm", "ft"])
def test_methods_without_the_form_are_refused(bench: Workbench, known: KnownLabels, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"no multi-label form; these have: clamp, bgsplit"):
        next(train_multi_label(task_of(bench, known), METHODS[name], TRAINING, folder=tmp_path))


def test_pseudo_labels_are_asked_for_where_they_are_needed(
    bench: Workbench, known: KnownLabels, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="needs pseudo-labels"):
        next(train_multi_label(MultiTask(bench, known, None), METHODS["bgsplit"], TRAINING, folder=tmp_path))
