"""Small images in memory: augmentation against a slow version, exact resumption, one line for a broken file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from narrowcast.core.errors import SourceError
from narrowcast.core.training import TrainConfig, sample_numbers
from narrowcast.data.image_table import open_table
from narrowcast.data.image_tensors import ImageTensors, augmented_batches, crop_and_flip, normalised, read_images


def folder_of(path: Path, num: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir()
        for ix in range(num):
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path / name / f"{ix}.png")
    return path


def test_a_folder_becomes_one_tensor(tmp_path: Path) -> None:
    data = read_images(open_table(folder_of(tmp_path)), size=8)
    assert data.images.shape == (6, 3, 8, 8)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (data.classes, len(data)) == (("cat", "dog"), 6)
    assert normalised(data.images).mean().abs() < 0.5


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "dog" / "1.png").write_bytes(b"\x89PNG no")
    with pytest.raises(SourceError, match=r"dog/1\.png"):
        read_images(open_table(tmp_path), size=8)


def test_every_augmented_image_is_a_shifted_or_mirrored_one() -> None:
    images = torch.randint(0, 256, (12, 3, 6, 5), dtype=torch.uint8)
    out = crop_and_flip(images, pad=2, rng=torch.Generator().manual_seed(0))
    padded = F.pad(images.float(), (2, 2, 2, 2), mode="reflect").byte()
    for ix in range(12):
        crops = [padded[ix, :, top : top + 6, left : left + 5] for top in range(5) for left in range(5)]
        assert any(torch.equal(out[ix], crop) or torch.equal(out[ix], crop.flip(2)) for crop in crops)
    assert not torch.equal(out, images)


def test_a_resumed_training_sees_the_same_batches() -> None:
    data = ImageTensors(torch.randint(0, 256, (10, 3, 6, 6), dtype=torch.uint8), torch.arange(10), tuple("abcdefghij"))
    config = TrainConfig(steps=6, batch_size=4)
    whole = list(augmented_batches(data, sample_numbers(config, first_step=0), seed=1))
    resumed = list(augmented_batches(data, sample_numbers(config, first_step=4), seed=1))
    for (images, labels), (again, same) in zip(whole[4:], resumed, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    assert sorted(torch.cat([labels for _, labels in whole[:5]]).tolist()) == sorted([*range(10)] * 2)
    other = next(iter(augmented_batches(data, sample_numbers(config, first_step=0), seed=2)))
    assert not torch.equal(other[0], whole[0][0])
