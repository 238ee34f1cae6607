"""Features are learned from labels with gaps, and go on from where they were left."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from narrowcast.bgsplit.adapt import AdaptConfig, adapt
from narrowcast.bgsplit.auxiliary import AuxiliaryLabels, classifier_labels, random_labels
from narrowcast.bgsplit.compare import EpochsConfig
from narrowcast.bgsplit.feed import MapFeed
from narrowcast.bgsplit.fit import FeatureFit, known_labels
from narrowcast.bgsplit.net import FeatureScale, SplitNet
from narrowcast.bgsplit.prepare import Workbench, drained, prepare
from narrowcast.bgsplit.train import PseudoLabels
from narrowcast.core.errors import DivergedError, UsageError
from narrowcast.core.training import CHECKPOINT, TrainConfig
from narrowcast.data.image_table import ImageTable
from narrowcast.models.torch_backbone import TorchBackbone

TRAINING = TrainConfig(
    steps=30, batch_size=16, learning_rate=0.02, optimizer="sgd", warmup_steps=2, average=0.0, precision="float32"
)


@pytest.fixture
def bench(table: ImageTable, backbone: TorchBackbone, cache: Path) -> Workbench:
    return drained(prepare(table, backbone, trained_parts=2, cache=cache))


def fit_of(bench: Workbench, folder: Path) -> FeatureFit:
    made = random_labels(len(bench.table), num=6, seed=0)
    pseudo = PseudoLabels(made.labels, made.num)
    return FeatureFit(bench, pseudo, training=TRAINING, epochs=EpochsConfig(epochs=4.0), folder=folder)


def test_labels_of_a_pool_become_known_and_unknown() -> None:
    assert known_labels(np.array([[1, -1], [-2, 0]])).tolist() == [[1, 0], [0, -1]]


def test_features_of_every_row_come_back_and_change(bench: Workbench, tmp_path: Path) -> None:
    fit, reports = fit_of(bench, tmp_path), []
    fit.on_report = reports.append
    labels = np.zeros((len(bench.table), 2), np.int8)
    labels[:40, 0], labels[5:60, 1] = 1, -1
    labels[50:80, 0] = -2
    first = fit(labels)
    assert first.shape == (240, 8)
    assert reports[-1].done == reports[-1].total
    labels[80:90] = 1
    second = fit(labels)
    assert not np.allclose(first, second)
    again = fit_of(bench, tmp_path / "again")
    labels[80:90] = 0
    np.testing.assert_array_equal(again(labels), first)


def test_what_cannot_be_learned_from_is_refused(bench: Workbench, tmp_path: Path) -> None:
    fit = fit_of(bench, tmp_path)
    with pytest.raises(UsageError, match="3 rows of labels for 240 images"):
        fit(np.ones((3, 1), np.int8))
    with pytest.raises(UsageError, match="no label is known"):
        fit(np.zeros((240, 1), np.int8))
    fit(np.ones((240, 1), np.int8))
    with pytest.raises(UsageError, match="2 categories, but 1 before"):
        fit(np.ones((240, 2), np.int8))


def test_an_adapted_trunk_answers_the_auxiliary_task_better(bench: Workbench, tmp_path: Path) -> None:
    """The task: the classes themselves. No label of a category is used, and the bench that was given stays."""
    labels = AuxiliaryLabels(bench.table.labels, np.ones(240, np.float32), 8, "classes")
    before = [parameter.clone() for parameter in bench.trunk.parameters()]
    adapted = drained(adapt(bench, labels, TRAINING, folder=tmp_path, is_own=False))
    assert all(torch.equal(one, other) for one, other in zip(before, bench.trunk.parameters(), strict=True))
    assert isinstance(adapted.feed, MapFeed)
    assert adapted.head is not None
    rows = np.arange(240)
    guessed = classifier_labels(adapted.feed.features(rows).numpy(), adapted.head, source="adapted").labels
    assert (guessed == bench.table.labels).mean() > 0.3  # chance is 1/8
    features = adapted.feed.features(rows).numpy()
    learned = fit_of(adapted, tmp_path / "fit")(bench.table.labels[:, None] == np.arange(2))
    assert np.abs(learned - features).max() > 1e-3  # its trunk once came frozen, and nothing after it was trained
    again = drained(adapt(bench, labels, TRAINING, folder=tmp_path, is_own=False))
    torch.testing.assert_close(again.feed.features(rows), adapted.feed.features(rows))


def test_a_trunk_adapts_at_its_own_rate(bench: Workbench, tmp_path: Path) -> None:
    labels = AuxiliaryLabels(bench.table.labels, np.ones(240, np.float32), 8, "classes")

    def moved(rate: float) -> float:
        config = AdaptConfig(trunk_rate=rate)
        done = drained(adapt(bench, labels, TRAINING, folder=tmp_path / str(rate), is_own=False, config=config))
        pairs = zip(bench.trunk.parameters(), done.trunk.parameters(), strict=True)
        return sum(float((one - other).detach().abs().sum()) for one, other in pairs)

    assert 0 < moved(0.01) < moved(1.0) / 10


def test_a_trunk_that_has_died_is_not_taken(bench: Workbench, tmp_path: Path) -> None:
    """At too high a rate activations once grew until all of them were clipped, and features were the same for all."""
    labels = AuxiliaryLabels(bench.table.labels, np.ones(240, np.float32), 8, "classes")
    dead = copy.deepcopy(bench.trunk)
    for parameter in dead.parameters():
        parameter.data.zero_()
    done = adapt(replace(bench, trunk=dead), labels, TRAINING, folder=tmp_path, is_own=False)
    with pytest.raises(DivergedError, match="all images look the same"):
        drained(done)
    assert not (tmp_path / CHECKPOINT).exists()  # a second try, at another rate, begins anew


def test_a_trunk_that_trains_as_a_whole_is_adapted_from_its_images(
    table: ImageTable, backbone: TorchBackbone, cache: Path, tmp_path: Path
) -> None:
    images = drained(prepare(table, backbone, trained_parts=-1, cache=cache))
    labels = AuxiliaryLabels(table.labels, np.ones(240, np.float32), 8, "classes")
    adapted = drained(adapt(images, labels, TRAINING, folder=tmp_path, is_own=False))
    rows = np.arange(240)
    assert adapted.head is not None
    guessed = classifier_labels(adapted.feed.features(rows).numpy(), adapted.head, source="adapted").labels
    assert (guessed == table.labels).mean() > 0.3  # chance is 1/8
    assert not torch.allclose(adapted.feed.features(rows), images.feed.features(rows), atol=1e-2)


def test_the_auxiliary_head_can_be_taken_off_and_put_on() -> None:
    scale = FeatureScale(torch.randn(4), 2.5, False)
    net = SplitNet(torch.nn.Identity(), scale, num_categories=1, num_auxiliary=3, background_logit=0.1)
    head = net.auxiliary_head()
    assert head is not None
    features = torch.randn(5, 4)
    torch.testing.assert_close(head(features), net(features).auxiliary)
