"""Motion between two frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.models import optical_flow

from narrowcast.core.errors import WeightsError
from narrowcast.stream.methods import parse_methods
from narrowcast.stream.optical_flow import Dis, Raft


def shifted(shift_px: int) -> np.ndarray:
    ground = cv2.resize(np.random.default_rng(0).integers(0, 255, (20, 32, 3), dtype=np.uint8), (256, 160))
    return np.roll(ground, shift_px, axis=1)[:, 32:224]


def test_dis_finds_a_shift() -> None:
    flow = Dis()
    here, there = flow.prepare(shifted(6)), flow.prepare(shifted(0))
    found = flow.between(here, there)
    assert found.shape == (160, 192, 2)
    np.testing.assert_allclose(np.median(found[..., 0]), -6, atol=0.3)
    np.testing.assert_allclose(np.median(found[..., 1]), 0, atol=0.3)


def test_raft_is_the_published_network_at_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights: what it says is torchvision's, the frame's edge repeated to sides that it takes."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = optical_flow.raft_small(weights=None).eval()
    path = tmp_path / "hub" / "checkpoints" / optical_flow.Raft_Small_Weights.C_T_V2.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    here, there = shifted(3)[:130, :150], shifted(0)[:130, :150]
    found = Raft(torch.device("cpu")).between(here, there)
    assert found.shape == (130, 150, 2)
    padded = [np.pad(image, ((0, 6), (0, 2), (0, 0)), mode="edge") for image in (here, there)]
    pair = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in padded]
    with torch.no_grad():
        expected = network(*pair)[-1][0, :, :130, :150].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_raft_without_weights_says_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "flow-raft-8" in parse_methods("flow-raft-8")
    with pytest.raises(WeightsError, match="flow-dis"):
        Raft(torch.device("cpu"))
