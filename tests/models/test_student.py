"""Every student keeps one contract, and travels as a file that says what is wrong with it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models.jitnet import take_rows
from narrowcast.models.student import Student, build_student, load_student, save_student, student_config

CLASSES = ("background", "person", "auto")
STUDENTS = [
    {"architecture": "jitnet", "num_classes": 3, "width": 0.5},
    {"architecture": "jitnet", "num_classes": 3, "width": 0.5, "scale": 0.5, "skips": False, "min_head_channels": 32},
    {"architecture": "mobilenetv2", "num_classes": 3, "output_stride": 16},
]
all_students = pytest.mark.parametrize("config", STUDENTS, ids=["jitnet", "jitnet-options", "mobilenetv2"])


def images() -> torch.Tensor:
    return torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1))


@all_students
def test_a_student_is_pure_in_evaluation(config: dict) -> None:
    net = build_student(config).eval()
    with torch.no_grad():
        first = net(images())
        net(torch.rand(1, 3, 33, 70))
        assert torch.equal(net(images()), first)


@all_students
def test_full_logits_are_the_resized_coarse_logits(config: dict) -> None:
    net: Student = build_student(config)
    assert isinstance(net, Student)
    net.eval()
    coarse = net.coarse_logits(images())
    resized = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bilinear", align_corners=True)
    assert torch.equal(net(images()), resized)


@all_students
def test_saved_students_come_back(config: dict, tmp_path: Path) -> None:
    net = build_student(config).eval()
    save_student(tmp_path / "s.safetensors", net, CLASSES, meta={"clip": "vtest", "updates": 3})
    twin, classes, meta = load_student(tmp_path / "s.safetensors")
    assert (classes, meta) == (CLASSES, {"clip": "vtest", "updates": 3})
    assert student_config(twin) == student_config(net)
    assert not twin.training
    assert torch.equal(twin(images()), net(images()))


@all_students
def test_every_student_can_give_rows(config: dict) -> None:
    net = build_student(config).eval()
    with torch.no_grad():
        expected = net(images())[:, [0, 1]].clone()
        expected[:, 1] = net(images())[:, 1:].mean(1)
        torch.testing.assert_close(take_rows(net, [[0], [1, 2]])(images()), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_halves_the_file_and_spares_the_norms(tmp_path: Path) -> None:
    net = build_student({"architecture": "jitnet", "num_classes": 3}).eval()
    save_student(tmp_path / "full.safetensors", net, CLASSES)
    save_student(tmp_path / "half.safetensors", net, CLASSES, kernel_dtype=torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * (tmp_path / "full.safetensors").stat().st_size
    twin, _, _ = load_student(tmp_path / "half.safetensors")
    assert all(parameter.dtype == torch.float32 for parameter in twin.parameters())
    torch.testing.assert_close(twin(images()), net(images()), atol=2e-3, rtol=2e-2)
    stored = load_file(tmp_path / "half.safetensors")
    assert stored["encoder1.0.norm.running_var"].dtype == torch.float32


def test_loading_leaves_the_random_generator_alone(tmp_path: Path) -> None:
    save_student(tmp_path / "s.safetensors", build_student(STUDENTS[0]), CLASSES)
    before = torch.get_rng_state()
    load_student(tmp_path / "s.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"architecture": "jitnett", "num_classes": 3}, "did you mean 'jitnet'", id="misspelt"),
        pytest.param({"num_classes": 3}, "unknown student architecture None", id="no architecture"),
        pytest.param({"architecture": "jitnet"}, "num_classes", id="no classes"),
        pytest.param({"architecture": "jitnet", "num_classes": 3, "colour": 1}, "colour", id="unknown key"),
        pytest.param({"architecture": "jitnet", "num_classes": 3, "width": 99}, "width", id="out of range"),
    ],
)
def test_configs_that_build_nothing_are_refused(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_student(config)


def test_a_name_for_each_logit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 logits"):
        save_student(tmp_path / "s.safetensors", build_student(STUDENTS[0]), ["background", "person"])


def damage(path: Path, how: str) -> None:
    net = build_student(STUDENTS[0])
    tensors, meta = net.state_dict(), {"format": 1, "student": student_config(net), "classes": list(CLASSES)}
    if how == "missing":
        return
    if how == "not ours":
        return save_file({"a": torch.zeros(1)}, path)
    if how == "no student":
        return checkpoint.save(path, tensors, meta={"optimizer": "sgd"})
    if how == "other network":
        meta["student"]["width"] = 1.0
    if how == "unknown network":
        meta["student"]["architecture"] = "unet"
    if how == "names":
        meta["classes"] = ["background"]
    if how == "newer":
        meta["format"] = 2
    if how == "header":
        meta["student"] = "jitnet"
    if how == "tensor gone":
        del tensors["classifier.bias"]
    checkpoint.save(path, tensors, meta=meta)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    if how == "overwritten":
        path.write_bytes(b"\x00garbage" * 100)
    if how == "empty":
        path.write_bytes(b"")


DAMAGES = ["missing", "not ours", "no student", "other network", "unknown network", "names", "newer", "header"]


@pytest.mark.parametrize("how", [*DAMAGES, "tensor gone", "truncated", "overwritten", "empty"])
def test_a_bad_file_is_one_line_that_names_it(how: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    damage(path, how)
    with pytest.raises(WeightsError, match=r"bad\.safetensors") as raised:
        load_student(path)
    assert "\n" not in str(raised.value)


def test_the_header_is_json_that_other_programs_can_read(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_student(path, build_student(STUDENTS[0]), CLASSES)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    written = json.loads(header["__metadata__"][checkpoint.META_KEY])
    assert written["classes"] == list(CLASSES)
    assert written["student"]["architecture"] == "jitnet"
