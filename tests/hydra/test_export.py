"""The batch-1 form: the same function, and in onnxruntime as well."""

import importlib.util
from pathlib import Path

import pytest
import torch

from narrowcast.core.errors import UsageError
from narrowcast.data.image_tensors import normalised
from narrowcast.hydra.combine import average, concatenate
from narrowcast.hydra.export import SingleImage, export_onnx
from narrowcast.hydra.families import learned_gate

from .conftest import NUM_BRANCHES, build

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnxscript"))


@pytest.mark.parametrize(
    "options",
    [{}, {"combine": concatenate}, {"combine": average}, {"gate": learned_gate(NUM_BRANCHES)}],
    ids=["add", "concat", "mean", "weighted"],
)
def test_one_image_gives_what_the_network_gives(options: dict) -> None:
    net = build("res", **options)
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        single = SingleImage(net).eval()(pixels.float() / 255)
        torch.testing.assert_close(single, net(normalised(pixels)).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="needs the extra export")
def test_onnxruntime_says_the_same(tmp_path: Path) -> None:
    assert export_onnx(build("res"), tmp_path / "net.onnx", size=32) < 1e-4
    assert (tmp_path / "net.onnx").stat().st_size > 100_000
    assert len(list(tmp_path.iterdir())) == 1  # one file, weights inside


def test_what_cannot_be_gathered_cannot_be_exported() -> None:
    net = build("res")
    net.branches[1] = torch.nn.Identity()
    with pytest.raises(UsageError, match="cannot be exported"):
        SingleImage(net)
