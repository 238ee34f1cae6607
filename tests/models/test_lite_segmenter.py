"""The embedded teacher's network: sizes in and out, and that it can learn."""

import pytest
import torch

from narrowcast.models.lite_segmenter import LiteSegmenter


@pytest.fixture(scope="module")
def network() -> LiteSegmenter:
    torch.manual_seed(0)
    return LiteSegmenter(5).eval()


@pytest.mark.parametrize("size_hw", [(64, 96), (37, 53), (32, 32)], ids=str)
def test_logits_come_at_the_images_size_and_at_a_quarter(network: LiteSegmenter, size_hw) -> None:
    images = torch.rand(2, 3, *size_hw)
    with torch.inference_mode():
        assert network(images).shape == (2, 5, *size_hw)
        assert network.coarse_logits(images).shape == (2, 5, *(-(-size // 4) for size in size_hw))


def test_images_of_a_batch_do_not_meet(network: LiteSegmenter) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both, one = network(images), network(images[:1])
    torch.testing.assert_close(both[:1], one, atol=1e-4, rtol=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    network = LiteSegmenter(5).train()
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not without


def test_it_fits_what_may_ship() -> None:
    """All weights that ship must stay below 8 MB, in float16."""
    assert sum(tensor.numel() for tensor in LiteSegmenter(21).state_dict().values()) * 2 < 7.5e6
