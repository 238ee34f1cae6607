"""A sample depends on the seed and its number alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from narrowcast.core.errors import SourceError
from narrowcast.core.training import TrainConfig, sample_numbers
from narrowcast.data.image_batches import (
    BalancedClasses,
    ImageSamples,
    ShuffledEpochs,
    every_image,
    image_batches,
    middle_view,
    random_view,
)
from narrowcast.data.image_table import ImageTable, open_table

CONFIG = TrainConfig(steps=4, batch_size=4, accumulate=2)


@pytest.fixture
def table(tmp_path: Path, rng: np.random.Generator) -> ImageTable:
    for name, num in (("cat", 2), ("dog", 4)):
        (tmp_path / name).mkdir()
        for ix in range(num):
            Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(tmp_path / name / f"{ix}.png")
    return open_table(tmp_path)


def batches(table: ImageTable, first_step: int, num_workers: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    order = ShuffledEpochs(len(table), seed=3)
    samples = ImageSamples(table, random_view(16), order=order, seed=3)
    return list(image_batches(samples, sample_numbers(CONFIG, first_step=first_step), num_workers=num_workers))


def test_batches_from_a_later_step_are_those_of_the_whole(table: ImageTable) -> None:
    whole, rest = batches(table, 0), batches(table, 3)
    assert len(whole) == 8
    torch.testing.assert_close(whole[6:], rest, rtol=0, atol=0)


def test_loading_processes_change_nothing(table: ImageTable) -> None:
    torch.testing.assert_close(batches(table, 0), batches(table, 0, num_workers=2), rtol=0, atol=0)


def test_drawing_leaves_the_generator_alone(table: ImageTable) -> None:
    before = torch.get_rng_state()
    batches(table, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_an_epoch_shows_every_row_once() -> None:
    order = ShuffledEpochs(7, seed=0)
    first, second = [order(ix) for ix in range(7)], [order(ix) for ix in range(7, 14)]
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert order(2) == first[2]


def test_balanced_sampling_shows_classes_equally_often() -> None:
    labels = np.array([0] * 97 + [1] * 2 + [5])
    drawn = labels[[order(ix) for order in [BalancedClasses(labels, 0)] for ix in range(3000)]]
    shares = np.bincount(drawn, minlength=6)[[0, 1, 5]] / 3000
    assert np.abs(shares - 1 / 3).max() < 0.035  # four standard errors


def test_every_image_is_read_once_in_order(table: ImageTable) -> None:
    read = list(every_image(table, middle_view(16), batch_size=4, first_row=1))
    assert [rows.tolist() for _, rows in read] == [[1, 2, 3, 4], [5]]
    assert read[0][0].shape == (4, 3, 16, 16)
    assert read[0][0].dtype == torch.uint8


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_image_is_one_line_from_any_process(table: ImageTable, num_workers: int) -> None:
    table.paths[3].write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"1.png: the image cannot be decoded") as raised:
        list(every_image(table, middle_view(16), batch_size=4, num_workers=num_workers))
    assert "\n" not in str(raised.value)
