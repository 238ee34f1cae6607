"""The other tabs of the labelling page: pseudo-negatives, map, positives, disagreements, history, more like this."""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from narrowcast.core.errors import UsageError
from narrowcast.mine.audit import plan_audit
from narrowcast.mine.batches import most_alike
from narrowcast.mine.session import MiningSession
from narrowcast.mine.strategies import top
from narrowcast.web.label_desk import Desk
from narrowcast.web.label_sheet import Tile, score_of, tiles_of

PREVIEW = 40  # pseudo-negatives of each kind
MOST_LISTED = 200  # photos or events of one answer
MAP_LABELLED, MAP_LIKELY, MAP_RANDOM = 800, 1200, 1000  # photos on the map


def pseudo_negatives(desk: Desk) -> dict[str, Any]:
    """The pseudo-negatives of the present model: the 40 highest-scoring, and 40 random others."""

    def find(session: MiningSession) -> tuple[list[Tile], list[Tile], int]:
        if not session.has_example:
            return [], [], 0
        miner = session.miner
        free = miner.pseudo_ix[miner.is_free[miner.pseudo_ix]]
        ranked = free[np.argsort(-miner.scores[free], kind="stable")]
        rest = np.random.default_rng(0).permutation(ranked[PREVIEW:])[:PREVIEW]
        reason = "pseudo-negative"
        return tiles_of(session, ranked[:PREVIEW].tolist(), reason), tiles_of(session, rest.tolist(), reason), len(free)

    highest, others, num = desk.call(find)
    return {"highest": _json(highest), "random": _json(others), "num": num}


def positives(desk: Desk, *, first: int) -> dict[str, Any]:
    """All positives, the newest first; `MOST_LISTED` from the number `first` on."""
    ledger = desk.ledger
    items = [i for i, value in {**ledger.train, **ledger.audit}.items() if value == "positive"][::-1]
    shown = items[first : first + MOST_LISTED]
    return {"tiles": _json([Tile(item=item, reason="positive") for item in shown]), "num": len(items)}


def disagreements(desk: Desk) -> dict[str, Any]:
    """Labels that the model does not believe, the worst first, and photos of which people say different things."""

    def find(session: MiningSession) -> list[Tile]:
        if not session.has_example or not session.miner.has_model:
            return []
        labels, scores = session.miner.labels, session.scores
        against = np.where(labels == 1, -scores, np.where(labels == -1, scores, -np.inf))
        worst = top(against, against > 0, MOST_LISTED)
        return [
            Tile(item=session.pool.catalogue.item(ix), reason="against the model", score=score_of(scores[ix]))
            for ix in worst.tolist()
        ]

    conflicts = [Tile(item=item, reason="people differ") for item in desk.ledger.conflicts()[-MOST_LISTED:]]
    return {"model": _json(desk.call(find)), "people": _json(conflicts)}


def more_like(desk: Desk, item: str, num: int) -> dict[str, Any]:
    """Photos without a label that are most like one photo.

    Raises:
        UsageError: it is not in the pool.
    """

    def find(session: MiningSession) -> list[Tile]:
        pool_ix = session.pool_ix(item)
        if pool_ix is None:
            raise UsageError("that photo is not in the pool, so nothing can be compared with it")
        is_open = session.is_open.copy()
        is_open[pool_ix] = False
        return tiles_of(session, most_alike(session.features, pool_ix, is_open, num).tolist(), "similar")

    return {"tiles": _json(desk.call(find))}


def history(desk: Desk, *, before: int) -> dict[str, Any]:
    """Events, the newest first; `MOST_LISTED` below the sequence number `before`, 0 for the newest."""
    ledger = desk.ledger
    counting = {event.event_id for event in ledger.counting}
    undone = {event.undoes for _, event in ledger.events if event.kind == "undo"}
    older = [(seq, event) for seq, event in ledger.events if not before or seq < before]
    rows = [
        {
            **{name: getattr(event, name) for name in ("kind", "item", "value", "purpose", "who", "reason", "model")},
            **{name: getattr(event, name) for name in ("undoes", "event_id", "time_s")},
            "seq": seq,
            "counts": event.event_id in counting or (event.kind == "undo" and event.event_id not in undone),
        }
        for seq, event in older[-MOST_LISTED:][::-1]
    ]
    return {"events": rows, "has_more": len(older) > MOST_LISTED}


def audit(desk: Desk, num: int, *, seed: int) -> None:
    """Plan an audit.

    Raises:
        UsageError: one with answers is there already, or the category has no example yet.
    """

    def plan(session: MiningSession) -> None:
        plan_audit(session, num=num, rng=np.random.default_rng(seed))

    desk.call(plan)


def embedding_map(desk: Desk) -> dict[str, Any]:
    """Photos as points: labelled ones, the likeliest, and random others; near each other where they look alike."""

    def find(session: MiningSession) -> dict[str, Any]:
        chosen = _of_map(session)
        scores = session.scores[chosen] if session.has_example else np.zeros(len(chosen), np.float32)
        points = plane(session.features[chosen])
        catalogue = session.pool.catalogue
        return {
            "items": [catalogue.item(ix) for ix in chosen.tolist()],
            "points": base64.b64encode(points.astype("<f4").tobytes()).decode(),
            "scores": [round(score, 3) for score in scores.tolist()],
            "num_photos": len(catalogue),
        }

    return desk.call(find)


def plane(features: Float[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n 2"]:
    """The two principal components, each scaled to [−1, 1] by its 1st and 99th percentile."""
    rows = torch.from_numpy(features).float()
    centred = rows - rows.mean(0)
    if len(rows) < 3:
        return np.zeros((len(rows), 2), np.float32)
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # of the covariance: dim × dim however many rows
    axes = vectors[:, [-1, -2]]
    axes = axes * torch.sign(axes.sum(0))  # or the map would be mirrored now and then
    points = (centred @ axes).numpy()
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    return np.clip(2 * (points - low) / np.maximum(high - low, 1e-9) - 1, -1.2, 1.2).astype(np.float32)


def _of_map(session: MiningSession) -> Int64[np.ndarray, " n"]:
    miner = session.miner if session.has_example else None
    rng = np.random.default_rng(0)
    is_open = session.is_open
    labelled = rng.permutation(np.flatnonzero(~is_open))[:MAP_LABELLED]
    likely = top(miner.scores, is_open, MAP_LIKELY) if miner is not None else np.zeros(0, np.int64)
    others = rng.permutation(len(is_open))[:MAP_RANDOM]
    return np.unique(np.concatenate([labelled, likely, others]))


def _json(tiles: Sequence[Tile]) -> list[dict[str, Any]]:
    return [asdict(tile) for tile in tiles]
