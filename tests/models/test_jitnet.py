"""JITNet is the thesis's network to the digit, and runs at any size."""

import math

import pytest
import torch
from torch import Tensor, nn

from narrowcast.core.errors import ConfigError, ShapeError
from narrowcast.metrics import cost
from narrowcast.models.jitnet import JITNet, conv_norm, literal_forward, take_rows

FRAME = (1, 3, 720, 1280)


def trained_looking(net: JITNet, *, seed: int = 0) -> JITNet:
    """`net` with statistics, biases and a classifier that matter, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return net.eval()


def images_of(height: int, width: int, *, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize(
    ("options", "gflops", "params_m"),
    [
        pytest.param({}, 15.16, 0.752, id="baseline: 15.2 in tables 2.1 and 2.4"),
        pytest.param({"width": 0.5}, 11.75, 0.219, id="width 0.5: 11.8 in table 2.4"),
        pytest.param({"width": 2.0}, 47.87, 2.98, id="width 2.0: 47.9 in table 2.4"),
        pytest.param({"skips": False}, 14.27, 0.691, id="no skips: 14.3 in table 2.4"),
        pytest.param({"scale": 0.5}, 4.82, 0.752, id="scale 0.5: recounted, the table says 4.6"),
        pytest.param({"scale": 0.75}, 9.13, 0.752, id="scale 0.75: recounted, the table says 10.3"),
    ],
)
def test_inference_counts_to_the_digit(options: dict, gflops: float, params_m: float) -> None:
    with torch.device("meta"):
        net = JITNet(23, **options)
        macs = cost.count_macs(lambda images: literal_forward(net, images), torch.empty(FRAME))
    assert round(2 * macs / 1e9, 2) == gflops
    assert round(cost.count_params(net) / 1e6, 2 if params_m > 1 else 3) == params_m


@pytest.mark.parametrize(
    ("options", "gflops"),
    [
        pytest.param({}, 42.01, id="baseline: 42.0"),
        pytest.param({"width": 0.5}, 31.77, id="width 0.5: 31.8"),
        pytest.param({"width": 2.0}, 140.04, id="width 2.0: 140.4"),
        pytest.param({"skips": False}, 39.36, id="no skips: 39.4"),
    ],
)
def test_training_counts_to_the_digit(options: dict, gflops: float) -> None:
    with torch.device("meta"):
        net = JITNet(4, min_head_channels=32, **options)
        forward = lambda images: literal_forward(net, images)  # noqa: E731
        macs = cost.count_training_macs(net, torch.empty(FRAME), forward=forward)
    assert round(2 * macs / 1e9, 2) == gflops


@pytest.mark.parametrize(("num_classes", "channels"), [(2, 8), (8, 8), (9, 16), (16, 16), (17, 32), (23, 32)])
def test_the_last_convolution_is_as_wide_as_the_classes_need(num_classes: int, channels: int) -> None:
    assert JITNet(num_classes, width=0.5).classifier.in_channels == channels


def test_a_wide_network_is_wider_than_the_floor() -> None:
    assert JITNet(2, width=4.0).classifier.in_channels == 32  # 16m, m = 2


@pytest.mark.parametrize("options", [{}, {"skips": False}, {"blocks_per_stage": 2}, {"scale": 0.5}, {"width": 0.5}])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 81), (96, 130)])
def test_logits_before_the_resize_are_the_thesis_order(options: dict, height: int, width: int) -> None:
    torch.manual_seed(0)
    net = trained_looking(JITNet(5, **options))
    images = images_of(height, width, batch=2)
    with torch.no_grad():
        ours, literal = net(images), literal_forward(net, images)
    assert ours.shape == (2, 5, height, width)
    torch.testing.assert_close(ours, literal, atol=1e-4, rtol=1e-4)
    best, chosen = literal.amax(1), literal.gather(1, ours.argmax(1, keepdim=True))[:, 0]
    assert (best - chosen).max() < 1e-4  # the same class, or a tie at rounding


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40), (33, 31), (101, 57)])
def test_odd_sizes_give_logits_at_that_size(height: int, width: int) -> None:
    net = JITNet(3).eval()
    images = images_of(height, width)
    assert net(images).shape == (1, 3, height, width)
    assert net.coarse_logits(images).shape == (1, 3, math.ceil(height / 2), math.ceil(width / 2))


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        pytest.param((1, 3, 15, 64), {}, id="too low"),
        pytest.param((1, 3, 30, 64), {"scale": 0.5}, id="too low after scaling"),
        pytest.param((1, 4, 64, 64), {}, id="four channels"),
        pytest.param((3, 64, 64), {}, id="no batch"),
    ],
)
def test_images_of_a_wrong_shape_are_refused(shape: tuple[int, ...], options: dict) -> None:
    with pytest.raises(ShapeError, match="JITNet"):
        JITNet(3, **options)(torch.zeros(shape))


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0.0},
        {"width": -1.0},
        {"blocks_per_stage": 0},
        {"scale": 0.0},
        {"scale": 3.0},
        {"min_head_channels": 0},
    ],
)
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        JITNet(3, **options)
    with pytest.raises(ConfigError, match="num_classes"):
        JITNet(1)


def test_the_config_builds_the_same_network() -> None:
    net = trained_looking(JITNet(4, width=0.5, blocks_per_stage=2, skips=False, scale=0.75, min_head_channels=32))
    twin = JITNet.from_config(net.config)
    twin.load_state_dict(net.state_dict())
    images = images_of(48, 64)
    assert torch.equal(twin.eval()(images), net(images))


def test_depth_adds_blocks() -> None:
    assert [len(JITNet(2, blocks_per_stage=n).encoder2) for n in (1, 2)] == [1, 2]


def test_first_predictions_are_close_to_uniform() -> None:
    torch.manual_seed(0)
    probabilities = JITNet(4)(images_of(64, 64, batch=2)).softmax(1)
    assert (probabilities - 0.25).abs().max() < 0.2


def test_bfloat16_and_channels_last_agree_with_float32() -> None:
    net = trained_looking(JITNet(3))
    images = images_of(64, 96)
    with torch.no_grad():
        expected = net(images)
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = net(images.contiguous(memory_format=torch.channels_last))
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_the_whole_network_gets_a_gradient() -> None:
    net = JITNet(3)
    net(images_of(64, 64, batch=2)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_toy_is_learned() -> None:
    """A bright square on noise, 40 updates; a constant prediction has an IoU of 0 or of the square's share, 0.14."""
    torch.manual_seed(0)
    net, images = JITNet(2), 0.3 * images_of(64, 64, batch=2)
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[0, 8:32, 8:32] = labels[1, 24:48, 30:54] = 1
    images[labels[:, None].expand_as(images) == 1] += 0.6
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    predicted = net(images).argmax(1)
    assert ((predicted == 1) & (labels == 1)).sum() / ((predicted == 1) | (labels == 1)).sum() > 0.7


def test_taken_rows_are_the_rows_and_merged_rows_their_mean() -> None:
    net = trained_looking(JITNet(21, width=0.5))
    images = images_of(48, 48)
    taken = take_rows(net, [[0], [15], [6, 7, 14]])
    with torch.no_grad():
        all_logits, logits = net(images), taken(images)
    expected = torch.stack([all_logits[:, 0], all_logits[:, 15], all_logits[:, [6, 7, 14]].mean(1)], dim=1)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert taken.config == {**net.config, "num_classes": 3}  # as wide as 21 classes need, with three logits


def test_taking_rows_leaves_the_network_alone() -> None:
    net = trained_looking(JITNet(4, width=0.5))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    taken = take_rows(net, [[0], [1, 3]])
    for parameter in taken.parameters():
        assert parameter.requires_grad
        parameter.data.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.num_classes == 4


@pytest.mark.parametrize("rows", [[[0], []], [[0], [4]], [[0], [-1]]])
def test_rows_that_are_not_there_are_refused(rows: list[list[int]]) -> None:
    with pytest.raises(ConfigError, match="class 1"):
        take_rows(JITNet(4, width=0.5), rows)


@pytest.mark.parametrize("is_training", [True, False], ids=["batch statistics", "fixed statistics"])
def test_a_convolution_and_its_norm_are_one_function_with_the_same_gradients(is_training: bool) -> None:
    """With fixed statistics the norm is part of the convolution; what is learned must not know."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(5)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.train(is_training)
    parameters = [conv.weight, norm.weight, norm.bias]
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    apart = norm(conv(x))
    expected = torch.autograd.grad(apart.square().sum(), [x, *parameters])
    together = conv_norm(x, conv, norm)
    torch.testing.assert_close(together, apart)
    got = torch.autograd.grad(together.square().sum(), [x, *parameters])
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
