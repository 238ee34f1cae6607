"""A table of coloured pictures, and a small trunk, so that methods train in a moment."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from narrowcast.data.image_table import ImageTable, open_table, split_table
from narrowcast.models.preprocess import Preprocessing
from narrowcast.models.torch_backbone import TorchBackbone, Trunk

CLASSES = 8


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> ImageTable:
    """Eight classes of thirty pictures: a hue each, with noise."""
    folder, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    hues = rng.uniform(40, 215, (CLASSES, 3))
    for ix, hue in enumerate(hues):
        (folder / f"class{ix}").mkdir()
        for number in range(30):
            pixels = np.clip(hue + rng.normal(0, 18, (16, 16, 3)) + rng.normal(0, 12, 3), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class{ix}" / f"{number:02}.png")
    return split_table(open_table(folder), held_out=0.3, seed=0)


class Chain(nn.Module):
    """A chain of parts, as torchvision's are, to eight features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 8, 3, stride=2), nn.ReLU()
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.avgpool(self.features(images)).flatten(1)


@pytest.fixture
def backbone() -> TorchBackbone:
    """A random trunk of eight features with a classifier of twelve classes."""
    torch.manual_seed(3)
    trunk = Trunk(Chain(), Preprocessing(size_hw=(16, 16)))
    head = nn.Linear(8, 12)
    return TorchBackbone("chain", trunk, head=head)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
