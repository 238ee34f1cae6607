"""Weights come back to the bit, or the error says which file does not fit and why."""

import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from narrowcast.core import checkpoint
from narrowcast.core.errors import StorageError, WeightsError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(100)}, meta={"classes": ["été"]})
    return path


def test_tensors_and_meta_come_back(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 4).half(),
        "bfloat": torch.randn(5).bfloat16(),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "transposed": torch.randn(3, 4).T,
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    }
    meta = {"step": 3, "classes": ["background", "été"], "nested": {"accuracy": 0.8, "none": None}}
    checkpoint.save(tmp_path / "a.safetensors", tensors, meta=meta)
    loaded, loaded_meta = checkpoint.load(tmp_path / "a.safetensors")
    assert loaded_meta == meta
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    shared = torch.arange(10.0)
    checkpoint.save(tmp_path / "a.safetensors", {"all": shared, "part": shared[2:5]}, meta={})
    loaded, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert loaded["part"].tolist() == [2, 3, 4]


def test_a_full_disk_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match=r"weights.safetensors: cannot be written"):
            checkpoint.save(saved, {"a": torch.zeros(100_000)}, meta={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none.safetensors: no such file"):
        checkpoint.load(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="no such file"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 50, -1], ids=["empty", "in its length", "in its header", "in its last byte"])
def test_a_truncated_file_is_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"weights.safetensors: damaged or not a safetensors file") as caught:
        checkpoint.load(saved)
    assert "\n" not in str(caught.value)


def test_no_damaged_header_byte_gives_anything_but_a_weights_error(saved: Path) -> None:
    content = saved.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for position in range(header):
        saved.write_bytes(content[:position] + bytes([content[position] ^ 0x15]) + content[position + 1 :])
        try:
            checkpoint.load(saved)
        except WeightsError:
            continue


@pytest.mark.parametrize("content", [b"RIFF" * 100, b"PK\x03\x04" * 100], ids=["another format", "an archive"])
def test_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or not a safetensors file"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="not written by narrowcast"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_weights_are_loaded_to_the_letter() -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    checkpoint.load_into(target, source.state_dict(), source="a.safetensors")
    assert torch.equal(source.weight, target.weight)


def test_weights_of_another_precision_take_the_networks_own() -> None:
    net = nn.Linear(3, 2)
    halves = {name: tensor.half() for name, tensor in net.state_dict().items()}
    checkpoint.load_into(net, halves, source="a.safetensors")
    assert net.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        pytest.param({"weight": torch.zeros(2, 3)}, r"a.safetensors: does not fit.*missing \['bias'\]", id="missing"),
        pytest.param(
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)},
            r"a.safetensors: does not fit.*unexpected \['extra'\]",
            id="too much",
        ),
        pytest.param(
            {"weight": torch.zeros(3, 3), "bias": torch.zeros(2)},
            r"a.safetensors: 'weight' is \(3, 3\), the network needs \(2, 3\)",
            id="another shape",
        ),
        pytest.param(
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(1)},
            r"'bias' is \(1,\), the network needs \(2,\)",
            id="a shape that would broadcast",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(tensors: dict[str, torch.Tensor], message: str) -> None:
    net = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        checkpoint.load_into(net, tensors, source="a.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_an_optimiser_goes_on_where_it_was(tmp_path: Path, kind: str) -> None:
    make = {
        "sgd": lambda net: torch.optim.SGD(net.parameters(), 0.1, momentum=0.9),
        "adamw": lambda net: torch.optim.AdamW(net.parameters(), 0.1),
    }[kind]
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer, restored = make(net), make(other)
    inputs = torch.randn(4, 3)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(inputs).square().sum().backward()
        optimizer.step()

    for _ in range(3):
        step(net, optimizer)
    checkpoint.save(tmp_path / "o.safetensors", checkpoint.optimizer_tensors(optimizer), meta={})
    other.load_state_dict(net.state_dict())
    checkpoint.load_optimizer(restored, checkpoint.load(tmp_path / "o.safetensors")[0])
    for _ in range(3):
        step(net, optimizer)
        step(other, restored)
    assert torch.equal(net.weight, other.weight)


def test_the_state_of_an_optimiser_that_never_stepped_is_empty() -> None:
    optimizer = torch.optim.SGD(nn.Linear(3, 2).parameters(), 0.1, momentum=0.9)
    assert checkpoint.optimizer_tensors(optimizer) == {}
    checkpoint.load_optimizer(optimizer, {})
