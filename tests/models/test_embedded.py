"""The teacher that ships inside."""

from pathlib import Path

import pytest
import torch

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.core.runtime import compute_dtype
from narrowcast.models.embedded import EmbeddedTeacher
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.taxonomy import VOC
from tiny_networks import noise

CPU = torch.device("cpu")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    halves = {name: tensor.half() for name, tensor in LiteSegmenter(len(VOC)).state_dict().items()}
    checkpoint.save(tmp_path / "net.safetensors", halves, meta={"classes": list(VOC)})
    return tmp_path / "net.safetensors"


def test_weights_stored_in_halves_are_not_computed_in_halves(weights: Path) -> None:
    teacher = EmbeddedTeacher(device=CPU, max_side=96, weights=weights)
    assert {parameter.dtype for parameter in teacher._network.parameters()} == {compute_dtype(CPU)}
    assert teacher(noise(54, 96)).labels.shape == (54, 96)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "net.safetensors", LiteSegmenter(3).state_dict(), meta={})
    with pytest.raises(WeightsError, match="the network needs"):
        EmbeddedTeacher(device=CPU, weights=tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match="no such file"):
        EmbeddedTeacher(device=CPU, weights=tmp_path / "gone.safetensors")


def test_it_needs_32_pixels(weights: Path) -> None:
    with pytest.raises(ConfigError, match="at least 32"):
        EmbeddedTeacher(device=CPU, max_side=31, weights=weights)
