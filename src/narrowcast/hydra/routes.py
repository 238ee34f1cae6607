"""Routes: which branches run for which images, and how a gate's scores become them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from narrowcast.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """(image, branch) pairs, one a row.

    Attributes:
        image_ix: every image of the batch is there at least once.
        branch_ix: which branch runs for it.
        rank: 0 for the branch that the gate wants most for this image, 1 for the next.
        weight: what the branch's output is multiplied by; None is 1 for all.
        num_images: in the batch.
    """

    image_ix: Int[Tensor, " rows"]
    branch_ix: Int[Tensor, " rows"]
    rank: Int[Tensor, " rows"]
    weight: Float[Tensor, " rows"] | None
    num_images: int

    def take(self, rows: Tensor) -> "Routes":
        """The rows at these positions (or where a mask is True), in this order."""
        weight = None if self.weight is None else self.weight[rows]
        return Routes(
            image_ix=self.image_ix[rows],
            branch_ix=self.branch_ix[rows],
            rank=self.rank[rows],
            weight=weight,
            num_images=self.num_images,
        )

    def is_chosen(self, num_branches: int) -> Tensor:
        """(n, num_branches), True where a branch runs for an image."""
        chosen = torch.zeros(self.num_images, num_branches, dtype=torch.bool, device=self.image_ix.device)
        return chosen.index_put((self.image_ix, self.branch_ix), chosen.new_ones(()))


def top_routes(wanted: Float[Tensor, "n branches"], num_chosen: int) -> Routes:
    """The `num_chosen` most wanted branches of each image (equation 3.1), image by image, each with weight 1."""
    num_images, num_branches = wanted.shape
    if not 1 <= num_chosen <= num_branches:
        raise ConfigError(f"num_chosen = {num_chosen}: must be from 1 to the number of branches, {num_branches}")
    best = wanted.topk(num_chosen, dim=1).indices
    images = torch.arange(num_images, device=wanted.device)[:, None].expand_as(best)
    rank = torch.arange(num_chosen, device=wanted.device).expand_as(best)
    return Routes(
        image_ix=images.reshape(-1),
        branch_ix=best.reshape(-1),
        rank=rank.reshape(-1),
        weight=None,
        num_images=num_images,
    )


def same_routes(branch_ix: Int[Tensor, " branches"], *, num_images: int) -> Routes:
    """The same branches for every image."""
    rank = torch.arange(len(branch_ix), device=branch_ix.device)
    images = torch.arange(num_images, device=branch_ix.device)
    return Routes(
        image_ix=images.repeat_interleave(len(branch_ix)),
        branch_ix=branch_ix.repeat(num_images),
        rank=rank.repeat(num_images),
        weight=None,
        num_images=num_images,
    )


def confident_routes(scores: Float[Tensor, "n branches"], *, confidence: float, at_most: int) -> Routes:
    """For each image the fewest branches whose shares of its score reach `confidence`, but no more than `at_most`.

    Scores are taken as shares of their sum, so they must not be negative. `confidence_for` finds the confidence that
    spends a given number of branches an image.
    """
    if not 0 < confidence <= 1:
        raise ConfigError(f"confidence = {confidence}: must be in (0, 1]")
    routes = top_routes(scores, at_most)
    return routes.take(_share_before(scores, at_most).reshape(-1) < confidence)


def confidence_for(scores: Float[Tensor, "n branches"], *, mean_chosen: float, at_most: int) -> float:
    """The confidence with which `confident_routes` runs `mean_chosen` branches an image on average, to a rounding.

    Args:
        scores: of images like those to come, not of a test split.
        mean_chosen: the budget, from 1 to `at_most`.
        at_most: branches an image.
    """
    if not 1 <= mean_chosen <= at_most:
        raise ConfigError(f"mean_chosen = {mean_chosen}: must be from 1 to at_most, {at_most}")
    extra = _share_before(scores, at_most)[:, 1:].reshape(-1).sort().values  # the first branch runs in any case
    num_extra = round((mean_chosen - 1) * scores.shape[0])
    return 1.0 if num_extra >= extra.numel() else float(extra[num_extra].clamp(1e-6, 1.0))


def _share_before(scores: Tensor, at_most: int) -> Tensor:
    """(n, at_most): the share of the score that the better branches have already."""
    best = scores.topk(at_most, dim=1).values
    shares = best / scores.sum(1, keepdim=True)
    return shares.cumsum(1) - shares
