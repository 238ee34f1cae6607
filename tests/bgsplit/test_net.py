"""Heads that begin as others end answer the same."""

import pytest
import torch
from torch import nn

from narrowcast.bgsplit.net import FeatureScale, SplitNet, scale_of
from narrowcast.bgsplit.probe import against_background, fit_probe
from narrowcast.bgsplit.second_stage import Linear


def net_of(scale: FeatureScale, **options: object) -> SplitNet:
    kinds = {"num_categories": 2, "num_auxiliary": 7, "background_logit": 0.1} | options
    return SplitNet(nn.Identity(), scale, **kinds)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["raw", "centred"])
def test_the_auxiliary_models_own_head_answers_as_before(kind: str) -> None:
    features, head = torch.randn(50, 6) * 3 + 10, nn.Linear(6, 7)
    net = net_of(scale_of(features, kind))  # type: ignore[arg-type]
    net.load_auxiliary(head)
    answers = net(features).auxiliary
    torch.testing.assert_close(answers, head(features), rtol=1e-4, atol=1e-4)


def test_centred_features_have_no_mean_and_unit_spread() -> None:
    features = torch.randn(200, 6) * 3 + 10
    scaled = scale_of(features, "centred")(features)
    assert scaled.mean(0).abs().max() < 1e-4
    assert scaled.square().mean().item() == pytest.approx(1, rel=1e-3)
    unit = scale_of(features, "normalised")(features)
    torch.testing.assert_close(unit.norm(dim=1), torch.full((200,), 6**0.5))
    raw = scale_of(features, "raw")(features)
    assert torch.equal(raw, features)


def test_a_probe_is_the_same_behind_a_clamped_background(rng: object) -> None:
    features, labels = torch.randn(300, 6), torch.randint(0, 3, (300,))
    features[:, 0] += labels
    probe = fit_probe(features.numpy(), labels.numpy(), num_classes=3, balanced=True, inverse_strength=1.0)
    net = net_of(FeatureScale(torch.zeros(6), 1.0, False))
    net.load_main(against_background(probe, background_logit=0.1, shift=None))
    torch.testing.assert_close(net(features).main.softmax(1), probe(features).softmax(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.main_linear()(features), net(features).main)


@pytest.mark.parametrize("classes", [[0, 1], [0, 2], [0, 1, 2]])
def test_a_probe_knows_classes_without_images(classes: list[int]) -> None:
    labels = torch.tensor(classes * 20)
    features = torch.randn(len(labels), 4) + labels[:, None] * 3
    probe = fit_probe(features.numpy(), labels.numpy(), num_classes=3, balanced=True, inverse_strength=1.0)
    assert (probe(features).argmax(1) == labels).float().mean() > 0.8


def test_cosines_ignore_lengths() -> None:
    net = net_of(FeatureScale(torch.zeros(6), 1.0, False), is_cosine=True, background_logit=None)
    features = torch.randn(5, 6)
    torch.testing.assert_close(net.classify(features), net.classify(features * 7))
    assert net.classify(features).abs().max() <= 1 + 1e-6
    unit = nn.functional.normalize(features, dim=1)
    torch.testing.assert_close(net.main_linear()(unit), net.classify(features))


def test_norm_statistics_stay_frozen_in_training() -> None:
    trunk = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
    net = SplitNet(
        trunk, FeatureScale(torch.zeros(6), 1.0, False), num_categories=1, num_auxiliary=0, background_logit=None
    )
    net.set_modes()
    net(torch.randn(8, 6) + 5)
    assert not trunk[1].training
    assert trunk[2].training
    assert torch.equal(trunk[1].running_mean, torch.zeros(6))


def test_norm_statistics_follow_the_batches_where_asked() -> None:
    trunk, scale = nn.Sequential(nn.BatchNorm1d(6, momentum=0.01)), FeatureScale(torch.zeros(6), 1.0, False)
    net = SplitNet(trunk, scale, num_categories=1, num_auxiliary=0, background_logit=None, norm="followed")
    net.set_modes()
    inputs = torch.randn(8, 6) + 5
    net(inputs)
    torch.testing.assert_close(trunk[0].running_mean, inputs.mean(0) * 0.1)


def test_a_linear_classifier_is_its_product() -> None:
    linear, features = Linear(torch.randn(3, 6), torch.randn(3)), torch.randn(4, 6)
    torch.testing.assert_close(linear(features), features @ linear.weight.T + linear.bias)
