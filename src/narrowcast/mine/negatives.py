"""Labels that nobody gave: easy negatives from the bottom of the ranking, and the baselines' pseudo-labels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.special import expit

from narrowcast.mine.stored import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What pseudo-labels may be made from. Arrays are over the pool.

    Attributes:
        rank: gives the scores of the current ranking; a pass over the pool where nobody has asked before.
        labels: 1 positive, −1 negative, 0 unknown.
        is_free: not labelled and not put aside: may get a pseudo-label.
        has_model: whether scores are logits.
        graph: the graph of so many nearest neighbours.
    """

    rank: Callable[[], Float[np.ndarray, " pool"]]
    labels: Shaped[np.ndarray, " pool"]
    is_free: Bool[np.ndarray, " pool"]
    features: Rows
    has_model: bool
    graph: Callable[[int], sparse.csr_matrix]

    @property
    def scores(self) -> Float[np.ndarray, " pool"]:
        return self.rank()

    @property
    def num_positive(self) -> int:
        return int((self.labels == 1).sum())

    @property
    def num_negative(self) -> int:
        return int((self.labels == -1).sum())


@dataclass(frozen=True, slots=True)
class Pseudo:
    """Pseudo-labels with their weights in the loss."""

    pool_ix: Int64[np.ndarray, " n"]
    is_positive: Bool[np.ndarray, " n"]
    weights: Float32[np.ndarray, " n"]

    def without(self, left_out: Bool[np.ndarray, " n"]) -> "Pseudo":
        """The others."""
        return Pseudo(self.pool_ix[~left_out], self.is_positive[~left_out], self.weights[~left_out])


PseudoLabels = Callable[[Known, np.random.Generator], Pseudo]


def none(known: Known, rng: np.random.Generator) -> Pseudo:
    """No pseudo-labels: Tropel, and f_a = 0."""
    return negatives(np.zeros(0, np.int64))


def bottom_half(fraction: float, *, most: int) -> PseudoLabels:
    """f_a(|L_p| + 0.1 |L_n|) uniformly from the bottom half of the ranking (line 14), at most half of it and `most`.

    The cap is ours: at f_a = 100 the formula passes a pool of 12,000 after 60 positives. f_a from 25 to 400 made no
    difference (recounted), nor does a cap of a few thousand, and it keeps a fit under 0.2 s.
    """

    def draw(known: Known, rng: np.random.Generator) -> Pseudo:
        wanted = int(fraction * (known.num_positive + 0.1 * known.num_negative))
        return negatives(rng.permutation(lower_half(known))[: min(wanted, most)])

    return draw


def whole_pool(fraction: float, *, most: int) -> PseudoLabels:
    """As `bottom_half`, but from everything that is not labelled."""

    def draw(known: Known, rng: np.random.Generator) -> Pseudo:
        wanted = int(fraction * (known.num_positive + 0.1 * known.num_negative))
        free = np.flatnonzero(known.is_free)
        return negatives(rng.permutation(free)[: min(wanted, most, len(free) // 2)])

    return draw


def fixed(num: int) -> PseudoLabels:
    """The same `num` random photos in every round, but those that were labelled meanwhile."""
    drawn: Int64[np.ndarray, " n"] | None = None

    def draw(known: Known, rng: np.random.Generator) -> Pseudo:
        nonlocal drawn
        if drawn is None:
            drawn = rng.permutation(np.flatnonzero(known.is_free))[:num]
        return negatives(drawn[known.is_free[drawn]])

    return draw


def confident(fraction: float, *, most: int, confidence: float) -> PseudoLabels:
    """KD-Semi: what the last model is sure of, positives as well, as many as `bottom_half` would take.

    Section 4.3.2 trusts predictions above a confidence; 0.98 is the highest it prints.
    """

    def draw(known: Known, rng: np.random.Generator) -> Pseudo:
        if not known.has_model:
            return bottom_half(fraction, most=most)(known, rng)
        chance = expit(known.scores.astype(np.float64))
        positive = np.flatnonzero(known.is_free & (chance >= confidence))
        negative = np.flatnonzero(known.is_free & (chance <= 1 - confidence))
        wanted = min(int(fraction * (known.num_positive + 0.1 * known.num_negative)), most)
        negative = rng.permutation(negative)[:wanted]
        pool_ix = np.concatenate([positive, negative])
        is_positive = np.arange(len(pool_ix)) < len(positive)
        return Pseudo(pool_ix, is_positive, np.ones(len(pool_ix), np.float32))

    return draw


def propagated(fraction: float, *, most: int, neighbours: int, alpha: float) -> PseudoLabels:
    """DeepProp: labels spread over a graph of nearest neighbours (Iscen 2019), weighted by how sure that is."""

    def draw(known: Known, rng: np.random.Generator) -> Pseudo:
        if not known.num_negative:  # one class only: everything would become positive
            return bottom_half(fraction, most=most)(known, rng)
        graph = known.graph(neighbours)
        spread = np.stack([spread_labels(graph, known.labels == sign, alpha) for sign in (1, -1)])
        share = spread / spread.sum(0).clip(1e-12)
        doubt = -(share * np.log(share.clip(1e-12))).sum(0)
        sure = (1 - doubt / np.log(2)).clip(0, 1).astype(np.float32)
        reached = known.is_free & (spread.sum(0) > 0)
        positive = np.flatnonzero(reached & (share[0] > share[1]))
        negative = np.flatnonzero(reached & (share[0] <= share[1]))
        wanted = min(int(fraction * (known.num_positive + 0.1 * known.num_negative)), most)
        pool_ix = np.concatenate([rng.permutation(positive)[:wanted], rng.permutation(negative)[:wanted]])
        is_positive = np.arange(len(pool_ix)) < min(len(positive), wanted)
        return Pseudo(pool_ix, is_positive, sure[pool_ix])

    return draw


def lower_half(known: Known) -> Int64[np.ndarray, " n"]:
    """The free photos whose scores are in the lower half of the free ones'."""
    free = np.flatnonzero(known.is_free)
    if not len(free):
        return free
    half = len(free) // 2
    return free[np.argpartition(known.scores[free], half)[:half]]


def neighbour_graph(features: Rows, neighbours: int) -> sparse.csr_matrix:
    """The symmetric, normalised graph of each photo's nearest neighbours by cosine (cubed, as Iscen 2019)."""
    rows = torch.from_numpy(features[:]).float()
    num, k = len(rows), min(neighbours, len(rows) - 1)
    indices, values = [], []
    for start in range(0, num, 1024):
        likeness = rows[start : start + 1024] @ rows.T
        likeness[torch.arange(len(likeness)), torch.arange(start, start + len(likeness))] = -2
        best = likeness.topk(k)
        indices.append(best.indices.numpy())
        values.append(best.values.clamp(min=0).numpy() ** 3)
    sources = np.repeat(np.arange(num), k)
    weights = np.concatenate(values).ravel().astype(np.float64)
    graph = sparse.csr_matrix((weights, (sources, np.concatenate(indices).ravel())), shape=(num, num))
    graph = graph + graph.T
    scale = sparse.diags_array(1 / np.sqrt(np.asarray(graph.sum(1)).ravel().clip(1e-12)))
    return sparse.csr_matrix(scale @ graph @ scale)


def spread_labels(graph: sparse.csr_matrix, seeds: Bool[np.ndarray, " n"], alpha: float) -> Float[np.ndarray, " n"]:
    """(1 − α W)⁻¹ y, y shared out among the seeds; by conjugate gradients, as Iscen 2019."""
    if not seeds.any():
        return np.zeros(len(seeds))
    start = seeds / seeds.sum()
    found, _ = cg(sparse.eye_array(len(seeds)) - alpha * graph, start, rtol=1e-4, maxiter=30)
    return np.asarray(found).clip(0)


def negatives(pool_ix: Int64[np.ndarray, " n"]) -> Pseudo:
    return Pseudo(pool_ix, np.zeros(len(pool_ix), bool), np.ones(len(pool_ix), np.float32))
