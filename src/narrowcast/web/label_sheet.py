"""A sheet of photos to label, composed from a session: each with why it is there, and near copies behind it."""

import math
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.mine.audit import audit_questions, read_audit
from narrowcast.mine.batches import blended, diverse, stacked
from narrowcast.mine.catalogue import Catalogue
from narrowcast.mine.ledger import Ledger
from narrowcast.mine.session import MiningSession
from narrowcast.mine.strategies import NEAR_COPY, Candidates, Choice, Strategy, at_random, margin

MODES = ("mixed", "likely", "boundary", "explore", "audit", "second")
LEAST, MOST = 1, 120  # photos on a sheet
GLANCE = 8192  # photos that are ranked anew for somebody who waits, twice; ours: 0.1 s, and a sheet has 24
AUDIT_SHARE = 1 / 6  # of a mixed sheet while an audit has open questions; ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A photo on a sheet.

    Attributes:
        reason: likely, boundary, explore, audit, similar, …
        score: the model's, as a logit; None before there is one.
        others: near copies that are stacked behind it.
        purpose: of the label that is asked for.
        model: with which model it was chosen.
        name: of the file, for people.
    """

    item: str
    reason: str
    score: float | None = None
    others: tuple[str, ...] = ()
    purpose: str = "train"
    model: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What one person is shown at once; `note` says why where it is empty or unusual."""

    who: str
    mode: str
    tiles: tuple[Tile, ...]
    note: str = ""
    sheet_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the page and the cache have it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Sheet":
        """What `to_json` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        tiles = [Tile(**{**tile, "others": tuple(tile["others"])}) for tile in values["tiles"]]
        return cls(**{**values, "tiles": tuple(tiles)})

    def items(self) -> list[str]:
        """All photos on it, stacked ones included."""
        return [item for tile in self.tiles for item in (tile.item, *tile.others)]


Rank = Callable[[MiningSession], Float32[np.ndarray, " pool"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a sheet shall be.

    Attributes:
        num: photos; fewer where the pool ends.
        taken: photos that shall not be on it.
        rank: how far the pool is ranked for it: `whole`, or `glance` for somebody who waits.
    """

    who: str
    mode: str
    num: int
    taken: Collection[str]
    rank: Rank


def whole(session: MiningSession) -> Float32[np.ndarray, " pool"]:
    """Scores of the whole pool: a pass over all features where there were labels since the last one."""
    return session.scores


def glance(session: MiningSession) -> Float32[np.ndarray, " pool"]:
    """Scores of those that ranked high a moment ago, by the model of now: without a pass."""
    return session.miner.glance(GLANCE)


def compose(session: MiningSession, ledger: Ledger, wish: Wish, *, rng: np.random.Generator) -> Sheet:
    """A sheet as wished for."""
    tiles, note = COMPOSERS[wish.mode](session, ledger, wish, rng)
    named = tuple(replace(tile, name=name_of(session.pool.catalogue, tile.item)) for tile in tiles)
    return Sheet(who=wish.who, mode=wish.mode, tiles=named, note=note, sheet_id=uuid.uuid4().hex)


def name_of(catalogue: Catalogue, item: str) -> str:
    """What the file of a photo is called; "" outside of the pool."""
    pool_ix = catalogue.ix_of(item)
    return catalogue.path(pool_ix).rpartition("/")[2] if pool_ix is not None else ""


def _mixed(session: MiningSession, ledger: Ledger, wish: Wish, rng: np.random.Generator) -> tuple[list[Tile], str]:
    if not has_example(ledger):
        return _first(session, wish, rng)
    audit = _open_audit(session, wish.taken)[: int(wish.num * AUDIT_SHARE)]
    rest = replace(wish, num=wish.num - len(audit), taken={*wish.taken, *(tile.item for tile in audit)})
    return [*_ranked(session, blended(session.miner.method.ask), rest, rng), *audit], ""


def _by(make: Callable[[MiningSession], Strategy], reason: str) -> Callable[..., tuple[list[Tile], str]]:
    def composed(
        session: MiningSession, ledger: Ledger, wish: Wish, rng: np.random.Generator
    ) -> tuple[list[Tile], str]:
        if not has_example(ledger):
            return _first(session, wish, rng)
        ask = make(session)

        def named(candidates: Candidates, num: int, rng: np.random.Generator) -> Choice:
            choice = ask(candidates, num, rng)
            return Choice(choice.pool_ix, (reason,) * len(choice))

        return _ranked(session, named, wish, rng), ""

    return composed


def _audit(session: MiningSession, ledger: Ledger, wish: Wish, rng: np.random.Generator) -> tuple[list[Tile], str]:
    tiles = _open_audit(session, wish.taken)[: wish.num]
    return tiles, "" if tiles else "No audit has open questions; plan one beside the grid."


def _second(session: MiningSession, ledger: Ledger, wish: Wish, rng: np.random.Generator) -> tuple[list[Tile], str]:
    catalogue = session.pool.catalogue
    open_items = [
        item
        for item, said in ledger.said.items()
        if wish.who not in said and item not in ledger.audit and catalogue.ix_of(item) is not None
    ]
    chosen = [open_items[ix] for ix in sorted(rng.permutation(len(open_items))[: wish.num].tolist())]
    tiles = [Tile(item=item, reason="second look", model=session.model_name) for item in chosen]
    return tiles, "" if tiles else "Nobody else has labelled a photo that you have not."


Composer = Callable[..., tuple[list[Tile], str]]
COMPOSERS: dict[str, Composer] = {
    "mixed": _mixed,
    "likely": _by(lambda session: session.miner.method.ask, "likely"),
    "boundary": _by(lambda session: margin, "boundary"),
    "explore": _by(lambda session: at_random, "explore"),
    "audit": _audit,
    "second": _second,
}


def has_example(ledger: Ledger) -> bool:
    """Whether there is anything that photos can be ranked by."""
    return bool(ledger.text) or "positive" in ledger.train.values()


def _first(session: MiningSession, wish: Wish, rng: np.random.Generator) -> tuple[list[Tile], str]:
    is_open = _open(session, wish.taken)
    chosen = diverse(session.features, is_open, wish.num, rng)
    tiles = [Tile(item=session.pool.catalogue.item(ix), reason="explore") for ix in chosen.tolist()]
    return tiles, "No example yet: photos that differ from each other. Mark one that shows it, or go on with Enter."


def _ranked(session: MiningSession, strategy: Strategy, wish: Wish, rng: np.random.Generator) -> list[Tile]:
    miner, scores = session.miner, wish.rank(session)
    candidates = Candidates(
        scores=scores,
        is_open=_open(session, wish.taken),
        labels=miner.labels,
        features=miner.features,
        has_model=miner.has_model,
    )
    catalogue, model = session.pool.catalogue, session.model_name
    alike = NEAR_COPY if session.pool.stacks else math.inf
    return [
        Tile(
            item=catalogue.item(stack.pool_ix),
            reason=stack.reason,
            score=score_of(scores[stack.pool_ix]) if miner.has_model and np.isfinite(scores[stack.pool_ix]) else None,
            others=tuple(catalogue.item(ix) for ix in stack.others),
            model=model,
        )
        for stack in stacked(strategy(candidates, wish.num, rng), candidates, alike=alike)
    ]


def score_of(value: Any) -> float:
    """A score as pages get it."""
    return round(float(value), 3)


def tiles_of(session: MiningSession, pool_ix: Sequence[int], reason: str) -> list[Tile]:
    """Photos of the pool as tiles, each with its score where there is a model."""
    has_model = session.has_example and session.miner.has_model
    catalogue, model = session.pool.catalogue, session.model_name
    return [
        Tile(
            item=catalogue.item(ix),
            reason=reason,
            score=score_of(session.scores[ix]) if has_model else None,
            model=model,
        )
        for ix in pool_ix
    ]


def _open_audit(session: MiningSession, taken: Collection[str]) -> list[Tile]:
    try:
        questions = audit_questions(session, read_audit(session.pool, session.category))
    except (UsageError, StorageError):  # none is planned
        return []
    return [Tile(item=q.item, reason="audit", purpose="audit", model=q.model) for q in questions if q.item not in taken]


def _open(session: MiningSession, taken: Iterable[str]) -> Bool[np.ndarray, " pool"]:
    is_open = session.is_open.copy()
    is_open[session.pool.catalogue.ixs_of(taken)] = False
    return is_open
