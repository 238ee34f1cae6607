"""Routes against slow versions; budgets are met."""

import pytest
import torch

from narrowcast.core.errors import ConfigError
from narrowcast.hydra.combine import add, average, concatenate
from narrowcast.hydra.routes import confidence_for, confident_routes, same_routes, top_routes


def test_the_best_branches_come_image_by_image_best_first() -> None:
    routes = top_routes(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]), 2)
    assert routes.image_ix.tolist() == [0, 0, 1, 1]
    assert routes.branch_ix.tolist() == [1, 2, 0, 2]
    assert routes.rank.tolist() == [0, 1, 0, 1]
    assert routes.is_chosen(3).tolist() == [[False, True, True], [True, False, True]]


def test_routes_can_be_the_same_for_all() -> None:
    routes = same_routes(torch.tensor([3, 1]), num_images=2)
    assert routes.image_ix.tolist() == [0, 0, 1, 1]
    assert routes.branch_ix.tolist() == [3, 1, 3, 1]


@pytest.mark.parametrize("confidence", [0.2, 0.5, 0.9, 1.0])
def test_confidence_takes_the_fewest_branches_that_reach_it(confidence: float) -> None:
    scores = torch.rand(40, 7).softmax(1)
    routes = confident_routes(scores, confidence=confidence, at_most=5)
    for image in range(40):
        best = scores[image].sort(descending=True).values
        num = 1
        while num < 5 and best[:num].sum() < confidence:
            num += 1
        assert int((routes.image_ix == image).sum()) == num


@pytest.mark.parametrize("mean_chosen", [1.0, 1.7, 3.0, 4.0])
def test_a_budget_of_branches_is_met_on_average(mean_chosen: float) -> None:
    scores = (3 * torch.randn(500, 10)).softmax(1)
    confidence = confidence_for(scores, mean_chosen=mean_chosen, at_most=4)
    spent = len(confident_routes(scores, confidence=confidence, at_most=4).image_ix) / 500
    assert spent == pytest.approx(mean_chosen, abs=0.01)


@pytest.mark.parametrize("num_chosen", [0, 4])
def test_more_branches_than_there_are_cannot_be_chosen(num_chosen: int) -> None:
    with pytest.raises(ConfigError, match="num_chosen"):
        top_routes(torch.rand(2, 3), num_chosen)


def test_confidence_and_budget_have_ranges() -> None:
    with pytest.raises(ConfigError, match="confidence"):
        confident_routes(torch.rand(2, 3), confidence=0.0, at_most=2)
    with pytest.raises(ConfigError, match="mean_chosen"):
        confidence_for(torch.rand(2, 3), mean_chosen=3.0, at_most=2)


def test_rows_are_added_averaged_and_put_side_by_side_whatever_their_order() -> None:
    routes = top_routes(torch.rand(3, 5), 2)
    rows = torch.rand(6, 4, 2, 2)
    order = torch.randperm(6)
    shuffled, routes = rows[order], routes.take(order)
    pairs = rows.view(3, 2, 4, 2, 2)
    torch.testing.assert_close(add(shuffled, routes, num_slots=2), pairs.sum(1))
    torch.testing.assert_close(average(shuffled, routes, num_slots=2), pairs.mean(1))
    torch.testing.assert_close(concatenate(shuffled, routes, num_slots=2), pairs.flatten(1, 2))
    with pytest.raises(ConfigError, match="room for 1"):
        concatenate(shuffled, routes, num_slots=1)
