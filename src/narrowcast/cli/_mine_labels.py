"""What `narrowcast mine` does with categories, labels and heads, apart from parsing."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import typer

from narrowcast.cli._progress import Progress
from narrowcast.core.errors import SourceError, UsageError, did_you_mean
from narrowcast.core.files import write_text
from narrowcast.core.runtime import pick_device
from narrowcast.mine.audit import audit_questions, plan_audit, read_audit, report_audit
from narrowcast.mine.exchange import EXPORTS, exported, read_labels
from narrowcast.mine.head import export_onnx, head_of, load_head, save_head
from narrowcast.mine.head import predict as predict_photos
from narrowcast.mine.labels import VALUES, LabelEvent, LabelLog, Purpose, Value
from narrowcast.mine.pool import NameIndex, Pool
from narrowcast.mine.session import MiningSession, Numbers, begin_category
from narrowcast.mine.sources import find_places
from narrowcast.models.backbones import load_backbone

MOST_SHOWN = 20


def new(name: str, folder: Path, positives: list[str], *, text: str, who: str) -> None:
    """Begin a category."""
    pool = Pool.open(folder)
    with LabelLog.open(folder) as log:
        inside, outside = begin_category(pool, log, name, positives, text=text, who=who)
    typer.echo(f"{name}: begun with {inside} photos of the pool and {outside} from outside")


def ask(name: str, folder: Path, num: int, strategy: str, *, is_suspicious: bool, as_json: bool) -> None:
    """Print the next questions."""
    if num < 1:
        raise UsageError(f"--num {num}: must be positive")
    with MiningSession.open(folder, name, method=strategy) as session:
        questions = session.suspicious(num) if is_suspicious else session.next_batch(num)
    if as_json:
        typer.echo(json.dumps([asdict(question) for question in questions]))
    for question in [] if as_json else questions:
        typer.echo(f"#{question.pool_ix}  {question.score:+.2f}  {question.path}  ({question.reason})")


def label(name: str, value: str, folder: Path, photos: list[str], *, is_audit: bool, who: str, as_json: bool) -> None:
    """Append labels, or take the newest one back."""
    if value not in (*VALUES, "undo"):
        raise UsageError(f"label '{value}': expected {', '.join(VALUES)} or undo{did_you_mean(value, VALUES)}")
    if (value == "undo") == bool(photos):
        raise UsageError("undo takes no photos" if photos else f"name the photos that are {value}")
    pool = Pool.open(folder)
    with LabelLog.open(folder) as log:
        if value == "undo":
            undone = log.undo(name, who=who)
            typer.echo(f"taken back: {undone.path or undone.item} {undone.value}", err=as_json)
        else:
            log.labels(name)  # is there such a category?
            items, paths = pool.items(), pool.paths()
            found = pool.find(photos).tolist()
            log.add([_event(name, items[ix], cast(Value, value), paths[ix], is_audit, who, "") for ix in found])
        labels = log.labels(name)
    counts = Counter(labels.train.values())
    _print_counts(name, {value: counts[value] for value in VALUES} | {"audited": len(labels.audit)}, as_json=as_json)


def _event(name: str, item: str, value: Value, path: str, is_audit: bool, who: str, reason: str) -> LabelEvent:
    purpose: Purpose = "audit" if is_audit else "train"
    return LabelEvent(category=name, item=item, value=value, path=path, purpose=purpose, who=who, reason=reason)


def _print_counts(name: str, counts: dict[str, int], *, as_json: bool) -> None:
    told = json.dumps(counts) if as_json else f"{name}: " + ", ".join(f"{num} {what}" for what, num in counts.items())
    typer.echo(told)


def label_import(
    name: str, source: Path, folder: Path, *, confidence: float, is_audit: bool, who: str, as_json: bool
) -> None:
    """Take in labels from elsewhere; photos that are not in the pool are counted."""
    pool = Pool.open(folder)
    given = read_labels(source, name, confidence=confidence)
    index, items, paths = NameIndex(pool), pool.items(), pool.paths()
    events, unknown = [], []
    for one in given:
        pool_ix = index.get(one.name, start=source.absolute().parent)
        if pool_ix is None:
            unknown.append(one)
        else:
            reason = f"imported from {source.name}"
            events.append(_event(name, items[pool_ix], one.value, paths[pool_ix], is_audit, who, reason))
    if not events:
        first = f", such as {unknown[0].name} ({unknown[0].where})" if unknown else ""
        raise SourceError(f"{source}: none of its {len(given)} photos is in {folder}{first}")
    with LabelLog.open(folder) as log:
        if name not in log.categories():
            log.begin(name, who=who)
        log.add(events)
    counts = Counter(event.value for event in events)
    told = {value: counts[value] for value in VALUES} | {"not in the pool": len(unknown)}
    _print_counts(name, told, as_json=as_json)


def export(name: str, folder: Path, out: Path, *, kind: str, num_top: int) -> None:
    """Write the labelled photos, and the most likely others."""
    if kind not in EXPORTS:
        raise UsageError(f"--format {kind}: expected one of {', '.join(EXPORTS)}{did_you_mean(kind, EXPORTS)}")
    with MiningSession.open(folder, name) as session:
        rows = exported(session, num_top=num_top)
    EXPORTS[kind](rows, out, name)
    typer.echo(
        f"{out}: {sum(bool(row.label) for row in rows)} labelled photos, {sum(not row.label for row in rows)} others"
    )


def audit(name: str, folder: Path, *, num: int, seed: int, as_json: bool) -> None:
    """Plan an audit, or say what it says."""
    with MiningSession.open(folder, name) as session:
        if num:
            plan_audit(session, num=num, rng=np.random.default_rng(seed))
        strata = read_audit(session.pool, name)
        report = report_audit(session, strata, rng=np.random.default_rng(seed))
        questions = audit_questions(session, strata)
        numbers = session.numbers()
    if as_json:
        told = asdict(report) | {"questions": [question.path for question in questions], "numbers": asdict(numbers)}
        typer.echo(json.dumps(told))
        return
    _print_audit(name, report, numbers)
    for question in questions[:MOST_SHOWN]:
        typer.echo(f"  to answer: #{question.pool_ix} {question.path}")
    if len(questions) > MOST_SHOWN:
        typer.echo(f"  and {len(questions) - MOST_SHOWN} more; --json lists them all")


def _print_audit(name: str, report: Any, numbers: Numbers) -> None:
    typer.echo(f"{name}: {report.num_answered} of {report.num_drawn} photos of the audit answered")
    if numbers.expected_rate is not None:
        typer.echo(f"  of the next questions {numbers.expected_rate:.0%} are expected to be positive")
    if report.standing is None:
        return
    for what in ("num_positive", "recall_of_labels", "precision", "recall", "f1", "contamination"):
        interval, digits = getattr(report.standing, what), 0 if what == "num_positive" else 3
        low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
        typer.echo(f"  {what}: {interval.value:.{digits}f} (95%: {low} to {high})")
    verdict = "at least 95% of the positives are found" if report.may_stop else "go on, or audit more"
    typer.echo(f"  positives that may still be missed: at most {report.most_missed}; {verdict}")


def head(name: str, folder: Path, out: Path, strategy: str) -> None:
    """Write the head of a category."""
    if out.suffix not in (".safetensors", ".onnx"):
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors or .onnx")
    with MiningSession.open(folder, name, method=strategy) as session:
        miner = session.miner
        if not miner.has_model or miner.model is None:
            raise UsageError(f"{folder}: '{name}' has no negatives yet, so there is no classifier; label some photos")
        made = head_of(miner.model, session.pool.store().note, name)
    if out.suffix == ".onnx":
        export_onnx(made, out)
    else:
        save_head(made, out)
    typer.echo(f"{out}: '{name}' on {made.backbone}")


def predict(path: Path, photos: list[Path], out: Path | None, *, device: str, as_json: bool) -> None:
    """Score photos and print or write a line each."""
    made = load_head(path)
    places = list(find_places(photos))
    backbone = load_backbone(made.backbone, device=pick_device(device))
    lines = []
    with Progress("predict") as progress:
        for number, found in enumerate(predict_photos(made, backbone, places), 1):
            lines.append(found)
            progress.show(number, len(places), "")
    if out is not None:
        rows = [f'"{one.path}",{_number(one.score)},{_number(one.probability)},"{one.error}"' for one in lines]
        write_text(out, "\n".join(["path,score,probability,error", *rows]) + "\n")
        typer.echo(f"{out}: {len(lines)} photos, {sum(bool(one.is_positive) for one in lines)} of '{made.category}'")
    elif as_json:
        typer.echo(json.dumps([asdict(one) for one in lines]))
    else:
        for one in lines:
            typer.echo(f"{one.path}\t{one.error or _number(one.probability)}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
