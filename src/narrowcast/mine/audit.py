"""An audit's plan on disk: which photos were drawn from which strata, so that answers given later mean something."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.core.files import write_bytes, write_json
from narrowcast.mine.estimate import Standing, Stratum, draw_strata, may_stop, most_missed, standing
from narrowcast.mine.labels import check_category
from narrowcast.mine.pool import Pool
from narrowcast.mine.session import MiningSession, Question

AUDITS, PLAN, STRATA = "audits", "plan.json", "strata.npy"
NONE = -1


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Where a category stands by its audit.

    Attributes:
        num_drawn, num_answered: photos of the audit.
        standing: None until every drawn photo has an answer: those that were answered first need not be a random part.
        most_missed: positives that may still be out there, 95% sure.
        may_stop: whether at least 95% of the positives are found, 95% sure.
    """

    num_drawn: int
    num_answered: int
    standing: Standing | None
    most_missed: int | None
    may_stop: bool | None


def plan_audit(session: MiningSession, *, num: int, rng: np.random.Generator) -> list[Stratum]:
    """Draw `num` photos, stratified by the session's ranking, and write the plan down. It replaces an earlier one.

    Raises:
        UsageError: answers of an earlier audit are there, which would lose their meaning.
    """
    folder = _folder(session.pool, session.category)
    if (folder / PLAN).exists() and session.labels.audit:
        raise UsageError(
            f"{session.pool.path}: the audit of '{session.category}' has {len(session.labels.audit)} answers already;"
            f" answer the rest, or remove {folder} to begin anew"
        )
    strata = draw_strata(session.scores, session.miner.is_free, num=num, rng=rng)
    member = np.full(len(session.pool), NONE, np.int8)
    for number, stratum in enumerate(strata):
        member[stratum.pool_ix] = number
    content = io.BytesIO()
    np.save(content, member)
    write_bytes(folder / STRATA, content.getvalue())
    write_json(folder / PLAN, {"drawn": [stratum.drawn.tolist() for stratum in strata], "model": session.model_name})
    return strata


def read_audit(pool: Pool, category: str) -> list[Stratum]:
    """The strata of the category's audit.

    Raises:
        UsageError: none was planned.
        StorageError: the plan is damaged.
    """
    folder = _folder(pool, category)
    if not (folder / PLAN).exists():
        raise UsageError(
            f"{pool.path}: no audit of '{category}' is planned; narrowcast mine audit --draw 200 plans one"
        )
    try:
        drawn = json.loads((folder / PLAN).read_text(encoding="utf-8"))["drawn"]
        member = np.load(folder / STRATA, allow_pickle=False)
        return [
            Stratum(np.flatnonzero(member == number), np.array(photos, np.int64)) for number, photos in enumerate(drawn)
        ]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise StorageError(f"{folder}: damaged; remove it and plan the audit again ({error})") from error


def audit_questions(session: MiningSession, strata: Sequence[Stratum]) -> list[Question]:
    """The drawn photos that have no answer yet, in an order that tells nothing of their stratum."""
    catalogue = session.pool.catalogue
    photos = sorted(ix for stratum in strata for ix in stratum.drawn.tolist())
    done = session.labels.audit
    return [
        Question(ix, catalogue.item(ix), catalogue.path(ix), float(session.scores[ix]), "audit", session.model_name)
        for ix in photos
        if catalogue.item(ix) not in done
    ]


def report_audit(session: MiningSession, strata: Sequence[Stratum], *, rng: np.random.Generator) -> AuditReport:
    """What the answers so far say. Unsure answers count as negatives."""
    answers, known = {}, {}
    for labels, target in ((session.labels.audit, answers), (session.labels.train, known)):
        for item, value in labels.items():
            pool_ix = session.pool_ix(item)
            if pool_ix is not None:
                target[pool_ix] = value == "positive"
    drawn = {ix for stratum in strata for ix in stratum.drawn.tolist()}
    answered = {ix: value for ix, value in answers.items() if ix in drawn}
    known = {ix: value for ix, value in known.items() if ix not in drawn}
    if len(answered) < len(drawn):
        return AuditReport(len(drawn), len(answered), None, None, None)
    num_found = sum(answered.values()) + sum(known.values())
    return AuditReport(
        len(drawn),
        len(answered),
        standing(strata, answered, session.scores, known, rng=rng),
        most_missed(strata, answered, confidence=0.95, known=known),
        may_stop(num_found, strata, answered, known=known),
    )


def _folder(pool: Pool, category: str) -> Path:
    check_category(category)
    return pool.path / AUDITS / category
