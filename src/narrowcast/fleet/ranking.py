"""The best photos of a pool in shards: each shard's best, found anywhere, merged; exact, ties included.

The answer does not depend on how the rows are cut into shards nor on who scans them. A product of half-precision
matrices is fast but rounds, and rounds a row differently at the end of a block than in its middle; so it only chooses
candidates, by a bound on its error, and these are scored again in double precision, each row for itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int64

from narrowcast.fleet.engines import Engine, in_turn
from narrowcast.fleet.shards import Shard, ShardList, read_features, read_items
from narrowcast.mine.linear import LinearModel

BLOCK_ROWS = 16_384  # 42 MB at 1280 values
TASK_ROWS = 65_536  # shards smaller than this are scanned several to a task
HALF_ULP = 2.0**-11  # of float16: relative error of a rounding
TINY_HALF = 2.0**-25  # the same below the smallest normal number, absolute
NORM = 1.01  # no row of normalised float16 features is longer


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The highest scores of `num_scanned` rows, the highest first, ties in the order of the pool."""

    pool_ix: Int64[np.ndarray, " n"]
    scores: Float32[np.ndarray, " n"]
    num_scanned: int


@dataclass(frozen=True, slots=True)
class RankReport:
    """`done` of `total` rows are scanned; `best` is the top of those."""

    done: int
    total: int
    best: Best


@dataclass(frozen=True, slots=True)
class Ranked:
    """One photo of a ranking."""

    pool_ix: int
    score: float
    path: str
    item: str


def rank(listed: ShardList, model: LinearModel, *, num: int, engine: Engine = in_turn) -> Iterator[RankReport]:
    """The `num` rows with the highest scores; a report whenever a task's share is merged.

    Args:
        engine: where shards are scanned; see `fleet.engines`.

    Raises:
        StorageError: a shard is missing or damaged.
    """
    best = Best(np.zeros(0, np.int64), np.zeros(0, np.float32), 0)
    yield RankReport(0, listed.num_rows, best)
    for found in engine(partial(scan, model=model, num=num), grouped(listed.shards)):
        best = merge([best, found], num=num)
        yield RankReport(best.num_scanned, listed.num_rows, best)


def grouped(shards: Sequence[Shard], *, least_rows: int = TASK_ROWS) -> Iterator[tuple[Shard, ...]]:
    """Shards in order, so many to a task that it is worth its way."""
    group: list[Shard] = []
    for shard in shards:
        group.append(shard)
        if sum(one.num_rows for one in group) >= least_rows:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def scan(shards: Iterable[Shard], *, model: LinearModel, num: int) -> Best:
    """The best of some shards."""
    return merge([_scan_shard(shard, model, num) for shard in shards], num=num)


def merge(parts: Sequence[Best], *, num: int) -> Best:
    """The best of several."""
    pool_ix = np.concatenate([part.pool_ix for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.lexsort((pool_ix, -scores))[:num]
    return Best(pool_ix[order], scores[order], sum(part.num_scanned for part in parts))


def _scan_shard(shard: Shard, model: LinearModel, num: int) -> Best:
    rows = read_features(shard)
    found = [
        _scan_block(np.asarray(rows[start : start + BLOCK_ROWS]), shard.first_ix + start, model, num)
        for start in range(0, len(rows), BLOCK_ROWS)
    ]
    empty = Best(np.zeros(0, np.int64), np.zeros(0, np.float32), 0)
    return merge(found or [empty], num=num)


def _scan_block(rows: Float16[np.ndarray, "n dim"], first_ix: int, model: LinearModel, num: int) -> Best:
    candidates = _candidates(rows, model, num)
    exact = exact_scores(rows[candidates], model)
    order = np.lexsort((candidates, -exact))[:num]
    return Best(candidates[order] + first_ix, exact[order], len(rows))


def exact_scores(rows: Float16[np.ndarray, "n dim"], model: LinearModel) -> Float32[np.ndarray, " n"]:
    """Scores in double precision, each row's independent of the rows beside it, rounded to single."""
    weights = model.weights.astype(np.float64)
    wide = rows.astype(np.float64)
    sums = np.fromiter((row @ weights for row in wide), np.float64, len(wide))
    return (sums + model.bias).astype(np.float32)


def _candidates(rows: Float16[np.ndarray, "n dim"], model: LinearModel, num: int) -> Int64[np.ndarray, " m"]:
    """Rows that may be among the `num` best: by rounded scores, less twice the most that these can be wrong by."""
    if num >= len(rows):
        return np.arange(len(rows))
    # torch's half-precision product with a matrix of one column reads 2 bytes a value; numpy would widen all rows first
    product = torch.from_numpy(rows).mm(torch.from_numpy(model.weights).half()[:, None])[:, 0].float().numpy()
    if not np.isfinite(product).all():  # weights beyond float16
        return np.arange(len(rows))
    least = np.partition(product, len(product) - num)[len(product) - num]
    return np.flatnonzero(product >= least - 2 * error_bound(model, float(np.abs(product).max())))


def error_bound(model: LinearModel, largest: float) -> float:
    """The most by which a half-precision product of a normalised row and the weights can be wrong.

    Rounding the weights: Σ|xᵢ|·|wᵢ|·2⁻¹¹ ≤ ‖x‖·‖w‖·2⁻¹¹ (Cauchy), and for weights near zero √dim·‖x‖·2⁻²⁵; summing
    `dim` products in single precision: dim·2⁻²⁴·‖x‖·‖w‖; rounding the sum: 2⁻¹¹ of it.
    """
    dim, norm = len(model.weights), float(np.linalg.norm(model.weights.astype(np.float64)))
    weights = NORM * (norm * (HALF_ULP + dim * 2.0**-24) + dim**0.5 * TINY_HALF)
    return weights + (largest + weights) * HALF_ULP + TINY_HALF


def named(listed: ShardList, best: Best) -> list[Ranked]:
    """The photos of a ranking; only the lists of shards that have one are read."""
    paths: dict[int, tuple[str, str]] = {}
    wanted = np.sort(best.pool_ix)
    for shard in listed.shards:
        inside = wanted[(wanted >= shard.first_ix) & (wanted < shard.first_ix + shard.num_rows)]
        if len(inside):
            rows = read_items(shard).take(inside - shard.first_ix).to_pylist()
            paths.update({int(ix): (row["path"], row["item"]) for ix, row in zip(inside, rows, strict=True)})
    return [Ranked(int(ix), float(score), *paths[int(ix)]) for ix, score in zip(best.pool_ix, best.scores, strict=True)]
