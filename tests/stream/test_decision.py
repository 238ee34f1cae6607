"""Labels out of coarse logits."""

import numpy as np
import pytest
import torch

from narrowcast.stream.decision import favour, leads, most_probable, upsample, winners


@pytest.mark.parametrize("size_hw", [(6, 8), (11, 17), (12, 16)])
def test_the_most_probable_class_is_the_arg_max(size_hw: tuple[int, int]) -> None:
    coarse = torch.randn(1, 5, 6, 8)
    full = torch.nn.functional.interpolate(coarse, size_hw, mode="bilinear", align_corners=True)
    labels = most_probable(coarse, size_hw)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, full[0].argmax(0).numpy())


def test_of_classes_that_tie_the_first_wins_as_in_argmax() -> None:
    coarse = torch.randint(0, 2, (1, 4, 24, 24)).float()
    np.testing.assert_array_equal(most_probable(coarse, (24, 24)), coarse[0].argmax(0).numpy())


def test_logits_of_half_precision_are_compared_after_the_resize() -> None:
    coarse = torch.randn(1, 3, 6, 8).bfloat16()
    expected = upsample(coarse.float(), (12, 16))[0].argmax(0).numpy()
    np.testing.assert_array_equal(most_probable(coarse, (12, 16)), expected)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_a_prior_is_so_many_logits_for_the_class_that_it_names(num_classes: int) -> None:
    coarse = torch.randn(1, num_classes, 6, 8)
    prior = torch.randint(0, num_classes + 1, (6, 8), dtype=torch.uint8)
    prior[prior == num_classes] = 255
    logits = coarse[0].clone()
    for row, column in np.ndindex(6, 8):
        if (named := int(prior[row, column])) != 255:
            logits[named, row, column] += 2.0 if named else 0.5
    ahead = leads(coarse, (6, 8))
    favour(ahead, prior, named=2.0, background=0.5)
    torch.testing.assert_close(ahead, logits[1:] - logits[:1])
    np.testing.assert_array_equal(winners(ahead), logits.argmax(0).numpy())
