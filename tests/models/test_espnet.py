"""ESPNetv2: shapes, the names of the published file, and the teacher made of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from narrowcast.core.errors import ConfigError, UsageError, WeightsError
from narrowcast.models.classes import parse_classes
from narrowcast.models.espnet import ESPNetV2, _at_scale, _conv
from narrowcast.models.espnet_teacher import EspnetTeacher
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.taxonomy import CITYSCAPES
from tiny_networks import noise

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("espnet") / "net.pth"
    torch.save(ESPNetV2(20).state_dict(), path)
    return path


@pytest.mark.parametrize("size_hw", [(32, 64), (64, 96)])
def test_logits_are_at_half_size(size_hw: tuple[int, int]) -> None:
    net = ESPNetV2(20).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, *size_hw)).shape == (1, 20, size_hw[0] // 2, size_hw[1] // 2)


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    """Some of the 526 tensors of `espnetv2_s_2.0_city_1024x512.pth`."""
    state = ESPNetV2(20).state_dict()
    assert len(state) == 526
    shapes = {
        "base_net.level2_0.eesp.proj_1x1.conv.weight": (24, 8, 1, 1),
        "base_net.level3_0.inp_reinf.1.conv.weight": (256, 3, 1, 1),
        "base_net.level4.6.spp_dw.3.conv.weight": (128, 1, 3, 3),
        "bu_dec_l1.merge_layer.2.cbr.0.weight": (10, 5, 3, 3),
        "bu_dec_l4.merge_layer.3.bias": (20,),
        "merge_enc_dec_l3.expansion_layer.cbr.0.weight": (48, 8, 3, 3),
        "bu_br_l4.1.weight": (32,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_a_scale_is_pooled_seen_and_brought_back() -> None:
    torch.manual_seed(0)
    maps, stage = torch.randn(1, 4, 20, 40), _conv(4, 4, 3, groups=4)
    small = stage(F.adaptive_avg_pool2d(maps, (5, 5)))  # 0.1 of 20 and 40 is less than 5 places
    back = F.interpolate(small, (20, 40), mode="bilinear", align_corners=True)
    assert torch.equal(_at_scale(maps, 0.1, stage), back)
    assert torch.equal(_at_scale(maps, 1.0, stage), stage(maps))
    assert _at_scale(maps, 2.0, stage).shape == maps.shape


def test_every_pixel_gets_one_of_the_19_classes(weights: Path) -> None:
    teacher = load_teacher(f"espnetv2:{weights}", device=CPU, num_threads=1, max_side=128)
    assert teacher.classes == CITYSCAPES
    labels = teacher(noise(40, 56)).labels
    assert (labels.shape, labels.dtype) == ((40, 56), np.uint8)
    assert labels.min() >= 1
    assert labels.max() <= 19


def test_what_is_wrong_is_said(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file of weights"):
        load_teacher(f"espnetv2:{tmp_path}/gone.pth", device=CPU, num_threads=1)
    with pytest.raises(UsageError, match="confidence has no effect"):
        load_teacher(f"espnetv2:{weights}", device=CPU, num_threads=1, confidence=0.5)
    with pytest.raises(ConfigError, match="at least 64"):
        EspnetTeacher(weights, device=CPU, max_side=32)


def test_camvids_classes_are_made_of_cityscapes() -> None:
    class_map = parse_classes("camvid", CITYSCAPES)
    assert len(class_map.classes) == 12
    assert sum(map(len, class_map.members)) == 19
    assert class_map.members[class_map.classes.index("bicyclist")] == ("rider", "motorcycle", "bicycle")
