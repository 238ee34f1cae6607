"""Pseudo-labels split the data, and come back from their file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from narrowcast.bgsplit.auxiliary import (
    classifier_labels,
    cluster_labels,
    keep_features,
    load_labels,
    most_confident,
    own_classes,
    random_labels,
    save_labels,
)
from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.data.image_table import ImageTable
from narrowcast.models.torch_backbone import TorchBackbone


def test_a_classifiers_labels_are_its_arg_max(rng: np.random.Generator) -> None:
    features, head = rng.normal(size=(50, 8)).astype(np.float32), nn.Linear(8, 5)
    found = classifier_labels(features, head, source="own")
    expected = head(torch.from_numpy(features)).softmax(1).max(1)
    assert np.array_equal(found.labels, expected.indices.numpy())
    np.testing.assert_allclose(found.confidence, expected.values.detach().numpy(), rtol=1e-5)
    without = classifier_labels(features, head, source="own", excluded=[int(found.labels[0])])
    assert found.labels[0] not in without.labels


def test_a_categorys_own_classes_are_those_its_images_fall_into() -> None:
    labels = np.array([7] * 8 + [3] * 1 + [4] * 1 + [5] * 10)
    masks = [np.arange(20) < 10]
    assert own_classes(labels, masks, least_share=0.15) == [7]
    assert own_classes(labels, masks, least_share=0.1) == [3, 4, 7]


def test_clusters_find_groups(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(4), 40)
    features = (np.eye(4, 8)[groups] + rng.normal(0, 0.02, (160, 8))).astype(np.float32)
    found = cluster_labels(features, num=4, seed=0)
    assert all(len(set(found.labels[groups == ix])) == 1 for ix in range(4))
    assert found.largest_share == 0.25
    with pytest.raises(ConfigError, match=r"--num 500: expected from 2 to 160 clusters"):
        cluster_labels(features, num=500, seed=0)


def test_random_labels_are_of_equal_size() -> None:
    found = random_labels(100, num=10, seed=0)
    assert np.bincount(found.labels).tolist() == [10] * 10
    assert found.largest_share == 0.1
    assert not np.array_equal(found.labels, random_labels(100, num=10, seed=1).labels)


def test_labels_come_back_from_their_folder(table: ImageTable, tmp_path: Path) -> None:
    made = random_labels(len(table), num=10, seed=0)
    save_labels(tmp_path, made, table)
    again = load_labels(tmp_path, table)
    assert np.array_equal(again.labels, made.labels)
    assert (again.num, again.source) == (10, "random-10")


def test_a_file_of_names_is_numbered(table: ImageTable, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    words = ["warm", "cold"]
    lines = [f"{name},{words[label % 2]}" for name, label in zip(table.names(), table.labels, strict=True)]
    path.write_text("path,label\n" + "\n".join(lines))
    found = load_labels(path, table)
    assert found.names == ("cold", "warm")
    assert np.array_equal(found.labels, (table.labels + 1) % 2)
    path.write_text("path,label\n" + "\n".join(lines[2:]))
    with pytest.raises(SourceError, match=r"no label for class0/00.png and 1 other images; labels and files disagree"):
        load_labels(path, table)
    path.write_text("nothing")
    with pytest.raises(SourceError, match=r"labels.csv: not auxiliary labels"):
        load_labels(path, table)


def test_features_are_computed_once(table: ImageTable, backbone: TorchBackbone, tmp_path: Path) -> None:
    cache, reports = keep_features(tmp_path, table, backbone)
    assert [report.done for report in reports][-1] == len(table)
    again, reports = keep_features(tmp_path, table, backbone)
    assert list(reports) == []
    assert again.read("features").shape == (240, 8)
    assert np.array_equal(cache.read("features"), again.read("features"))


def test_the_most_confident_images_lead() -> None:
    made = random_labels(30, num=3, seed=0)
    made.confidence[:] = np.linspace(0, 1, 30)
    for label, rows in most_confident(made, num_categories=2, num_images=4, seed=0):
        members = np.flatnonzero(made.labels == label)
        assert rows == sorted(members, reverse=True)[:4]
