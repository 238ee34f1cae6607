"""The zoo counts every network without computing it, beside what the thesis prints."""

import json

import pytest
import torch
from torchvision.models import detection
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from narrowcast.metrics import cost
from narrowcast.models import zoo

ENTRIES = {entry.name: entry for entry in zoo.ZOO}
NAMES = [
    *("jitnet", "jitnet-w0.5", "jitnet-w2.0", "jitnet-noskip", "jitnet-s0.5", "jitnet-s0.75"),
    *("mobilenetv2-os8", "mobilenetv2-os16", "maskrcnn", "maskrcnn-v2", "deeplabv3-mnv3", "lraspp"),
]


@pytest.fixture(scope="module")
def described() -> dict[str, dict]:
    return {name: zoo.describe(entry, count_macs=cost.count_macs) for name, entry in ENTRIES.items()}


def test_the_names_are_a_contract(described: dict[str, dict]) -> None:
    assert list(described) == NAMES
    assert len(zoo.ZOO) == len(ENTRIES)


def test_the_keys_and_types_are_a_contract(described: dict[str, dict]) -> None:
    for entry in json.loads(json.dumps(list(described.values()))):
        assert set(entry) == {"name", "params", "macs", "input_size_hw", "thesis"}
        assert isinstance(entry["params"], int)
        assert isinstance(entry["macs"], int)
        assert entry["input_size_hw"] == [720, 1280]
        if entry["thesis"] is not None:
            assert set(entry["thesis"]) == {"table", "row", "params", "cost", "unit"}
            assert entry["thesis"]["unit"] in ("MAC", "2xMAC")


@pytest.mark.parametrize("name", [name for name in NAMES if ENTRIES[name].thesis])
def test_costs_recount_the_thesis_but_for_the_scale_rows(name: str, described: dict[str, dict]) -> None:
    entry = described[name]
    tolerance = 0.12 if name.startswith("jitnet-s") else 0.005
    assert 2 * entry["macs"] == pytest.approx(entry["thesis"]["cost"], rel=tolerance)


@pytest.mark.parametrize(
    ("name", "params"),
    [("maskrcnn", 44_401_393), ("maskrcnn-v2", 46_359_409), ("deeplabv3-mnv3", 11_029_328), ("lraspp", 3_221_538)],
)
def test_torchvision_networks_have_the_parameters_that_torchvision_states(
    name: str, params: int, described: dict[str, dict]
) -> None:
    """Within 0.2%: torchvision's figures leave trainable norms or an unused bias out."""
    assert described[name]["params"] == pytest.approx(params, rel=2e-3)


@pytest.mark.parametrize("size_hw", [(720, 1280), (1280, 720), (480, 640), (333, 1000)])
def test_mask_rcnn_is_counted_at_the_size_it_resizes_to(size_hw: tuple[int, int]) -> None:
    transform = GeneralizedRCNNTransform(800, 1333, [0.5] * 3, [0.5] * 3)
    padded, _ = transform([torch.zeros(3, *size_hw)])
    assert zoo._maskrcnn_size(torch.empty(1, 3, *size_hw, device="meta")) == tuple(padded.tensors.shape[-2:])


@pytest.mark.slow
def test_a_real_mask_rcnn_costs_no_more_than_the_busiest_frame() -> None:
    torch.manual_seed(0)
    net = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    real = cost.count_macs(net, [torch.rand(3, 720, 1280)])
    at_most = zoo.describe(ENTRIES["maskrcnn"], count_macs=cost.count_macs)["macs"]
    assert 0.4 * at_most < real <= at_most
