"""What `narrowcast loop` does, apart from parsing."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import typer

from narrowcast.cli._progress import Progress
from narrowcast.cli._run import parse_size
from narrowcast.core.config import from_dict
from narrowcast.core.errors import UsageError
from narrowcast.core.runtime import pick_device
from narrowcast.fleet import picking, proposals, retraining
from narrowcast.models.classes import parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.stream.apply import load_adapted


def pick(run: Path, out: Path, *, num: int, apart: int, as_json: bool) -> None:
    """Pick frames and say which."""
    if num < 1 or apart < 1:
        raise UsageError("--num and --apart must be positive")
    picked = picking.export(run, out, num=num, apart=apart)
    drawn = proposals.write_proposals(run, out, {one.frame for one in picked})
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in picked]))
        return
    counts = Counter(one.reason for one in picked)
    why = ", ".join(f"{counts[reason]} {reason}" for reason in picking.REASONS if counts[reason])
    typer.echo(f"{out / picking.TABLE}: {len(picked)} frames ({why})")
    photos = out / proposals.FOLDER / proposals.PHOTOS
    none = "no proposals of labels: the run kept no lessons (--output lessons)"
    typer.echo(f"{photos}: {drawn} proposals of labels, to judge" if drawn else none)


def aside(source: str, out: Path, *, first: int, every: int, num: int) -> None:
    """Set frames aside."""
    if first < 0 or every < 1 or num < 1:
        raise UsageError("--first must not be negative, --every and --num be positive")
    written = picking.set_aside(source, out, first=first, every=every, num=num)
    typer.echo(f"{out / picking.FRAMES}: {written} frames set aside")


def label(frames: Path, labels: Path, spec: str, classes: str, *, device: str, as_json: bool) -> None:
    """Label frames in a person's place."""
    teacher = load_teacher(spec, device=pick_device(device), num_threads=torch.get_num_threads())
    num = retraining.label_frames(frames, labels, teacher, parse_classes(classes, teacher.classes))
    text = f"{labels}: {num} frames labelled by {spec}, in a person's place"
    typer.echo(json.dumps({"frames": num}) if as_json else text)


def retrain(
    student: Path, frames: Path, labels: Path, out: Path, *, settings: dict[str, Any], size: str | None, device: str
) -> None:
    """Teach a student, and say where it is."""
    config = from_dict(retraining.RetrainConfig, settings, where="loop retrain")
    reports = retraining.retrain(
        load_adapted(student), frames, labels, out, config=config, size_wh=parse_size(size), device=pick_device(device)
    )
    with Progress("retrain") as progress:
        for report in reports:
            progress.show(report.done, report.total, f"loss {report.loss:.3f}")
    typer.echo(f"{out}: learned for {config.passes} passes")


def promote(
    old: Path,
    new: Path,
    frames: Path,
    labels: Path,
    *,
    place: Path | None,
    margin: float,
    size: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Compare, and put in place."""
    comparison = retraining.compare(
        load_adapted(old),
        load_adapted(new),
        frames,
        labels,
        size_wh=parse_size(size) or load_adapted(old).size_wh,
        device=pick_device(device),
    )
    is_promoted = place is not None and retraining.promote(comparison, new, place, margin=margin)
    if as_json:
        typer.echo(
            json.dumps(asdict(comparison) | {"is_better": comparison.is_better(margin), "promoted": is_promoted})
        )
        return
    verdict = "the new one wins" if comparison.is_better(margin) else "the old one stays"
    where = f"; put in {place}" if is_promoted else ""
    typer.echo(f"mean IoU {comparison.old:.3f} → {comparison.new:.3f} on {comparison.frames} frames: {verdict}{where}")
