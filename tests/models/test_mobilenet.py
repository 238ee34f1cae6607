"""The MobileNetV2 student is torchvision's network on a finer grid."""

import math

import pytest
import torch
from torchvision.models import mobilenet_v2

from narrowcast.core.errors import ConfigError, ShapeError
from narrowcast.models.mobilenet import MobileNetV2Student


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (41, 67)])
def test_logits_are_at_the_output_stride_and_then_at_full_size(output_stride: int, height: int, width: int) -> None:
    net = MobileNetV2Student(4, output_stride=output_stride).eval()
    images = torch.rand(2, 3, height, width)
    coarse = (2, 4, math.ceil(height / output_stride), math.ceil(width / output_stride))
    assert net.coarse_logits(images).shape == coarse
    assert net(images).shape == (2, 4, height, width)


@pytest.mark.parametrize(("output_stride", "step"), [(8, 4), (16, 2)])
def test_dilation_computes_torchvisions_features_and_those_between(output_stride: int, step: int) -> None:
    net = MobileNetV2Student(4, output_stride=output_stride).eval()
    original = mobilenet_v2(weights=None).features[:-1].eval()
    original.load_state_dict(net.backbone.state_dict())
    images = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        torch.testing.assert_close(net.backbone(images)[..., ::step, ::step], original(images), atol=1e-5, rtol=1e-4)


def test_one_image_can_be_trained_on() -> None:
    net = MobileNetV2Student(3)
    net(torch.rand(1, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_bad_options_and_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="output_stride"):
        MobileNetV2Student(3, output_stride=32)
    with pytest.raises(ConfigError, match="num_classes"):
        MobileNetV2Student(1)
    net = MobileNetV2Student(3)
    for shape in [(1, 4, 64, 64), (3, 64, 64), (1, 3, 8, 64)]:
        with pytest.raises(ShapeError, match="MobileNetV2"):
            net(torch.zeros(shape))
