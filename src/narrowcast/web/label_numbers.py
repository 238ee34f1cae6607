"""What a page shows of the ranking and of the audit: histogram, threshold, intervals, the stopping rule's word."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.mine.audit import AuditReport, read_audit, report_audit
from narrowcast.mine.ledger import Ledger
from narrowcast.mine.session import MiningSession
from narrowcast.web.label_sheet import has_example

BINS = 48
DRY = 40  # labels in a row without a find after which the page says so; ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the last fitted model says of the pool.

    Attributes:
        num_open: photos that could still be asked.
        num_above: of them, those above the threshold.
        edges: of the histogram's bins, logits; the threshold is 0.
        counts: photos a bin; positive, negative: labelled ones.
        audit: None where none is planned.
        word: what the stopping rule says.
    """

    num_open: int
    num_above: int
    edges: list[float]
    counts: list[int]
    positive: list[int]
    negative: list[int]
    has_model: bool
    audit: dict[str, Any] | None
    word: str
    seq: int

    def to_json(self) -> dict[str, Any]:
        """As the page has it."""
        return asdict(self)


def look(session: MiningSession, ledger: Ledger) -> Overview:
    """The numbers of a session that is fitted to all labels so far."""
    if not has_example(ledger):
        return Overview(
            num_open=int(session.is_open.sum()),
            num_above=0,
            edges=[],
            counts=[],
            positive=[],
            negative=[],
            has_model=False,
            audit=None,
            word="No example yet.",
            seq=session.seq,
        )
    miner = session.miner
    scores, is_open = miner.scores, miner.is_free
    edges = np.linspace(float(scores.min()), max(float(scores.max()), float(scores.min()) + 1e-3), BINS + 1)
    audit = audit_of(session)
    return Overview(
        num_open=int(is_open.sum()),
        num_above=int((is_open & (scores > 0)).sum()) if miner.has_model else 0,
        edges=[round(edge, 3) for edge in edges.tolist()],
        counts=_counts(scores, edges),
        positive=_counts(scores[miner.labels == 1], edges),
        negative=_counts(scores[miner.labels == -1], edges),
        has_model=miner.has_model,
        audit=_audit_json(audit),
        word=word_of(audit, ledger.finds),
        seq=session.seq,
    )


def audit_of(session: MiningSession) -> AuditReport | None:
    """The category's audit as it stands; None where none is planned."""
    try:
        strata = read_audit(session.pool, session.category)
    except (UsageError, StorageError):
        return None
    return report_audit(session, strata, rng=np.random.default_rng(0))


def word_of(audit: AuditReport | None, finds: list[int]) -> str:
    """What the stopping rule says, in a sentence."""
    if audit is not None and audit.may_stop:
        return "You may stop: at least 95% of the positives are found, 95% sure."
    if audit is not None and audit.most_missed is not None:
        return f"Not yet: up to {audit.most_missed:,} positives may still be out there (95% sure)."
    if audit is not None:
        return f"{audit.num_drawn - audit.num_answered} of {audit.num_drawn} audit photos are still to be answered."
    if len(finds) > DRY and finds[-1] == finds[-DRY - 1]:
        return f"No find in the last {DRY} labels: an audit tells whether you may stop."
    return "Plan an audit to learn how much is still out there."


def _counts(scores: Float[np.ndarray, " n"], edges: Float[np.ndarray, " bins"]) -> list[int]:
    return np.histogram(scores, bins=edges)[0].tolist()


def _audit_json(audit: AuditReport | None) -> dict[str, Any] | None:
    if audit is None:
        return None
    return {**asdict(audit), "left": audit.num_drawn - audit.num_answered}
