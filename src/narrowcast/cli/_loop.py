"""What `narrowcast loop` does, apart from parsing."""

import json
from collections import Counter
from collections.abc import Iterator
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
from narrowcast.fleet import picking, proposals, retraining, teacher_head
from narrowcast.models.classes import parse_classes
from narrowcast.models.embedded import EmbeddedTeacher
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.taxonomy import VOC
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
    _taught(reports, config, out)


def is_teacher(of: str, classes: str, *, size: str | None) -> bool:
    """Whether it is about a teacher; options that would have no effect are refused."""
    if of not in ("student", "teacher"):
        raise UsageError(f"--of {of}: expected student or teacher")
    if of == "student" and classes:
        raise UsageError("--classes has no effect on a student, which has its own; remove it")
    if of == "teacher" and (not classes or size):
        raise UsageError("--of teacher needs --classes, those of the labels, and takes no --size")
    return of == "teacher"


def _weights(teacher: Path) -> Path | None:
    if str(teacher) != "embedded" and teacher.suffix != ".safetensors":
        raise UsageError(f"{teacher}: only embedded, or a .safetensors file of it, has a head that can be taught")
    return None if str(teacher) == "embedded" else teacher


def retrain_teacher(
    teacher: Path, frames: Path, labels: Path, out: Path, classes: str, *, settings: dict[str, Any], device: str
) -> None:
    """Teach a teacher's head, and say where it is."""
    config = from_dict(retraining.RetrainConfig, settings, where="loop retrain")
    reports = teacher_head.retrain_head(
        _weights(teacher), frames, labels, out, parse_classes(classes, VOC), config=config, device=pick_device(device)
    )
    _taught(reports, config, out)


def _taught(reports: Iterator[retraining.RetrainReport], config: retraining.RetrainConfig, out: Path) -> None:
    with Progress("retrain") as progress:
        for report in reports:
            progress.show(report.done, report.total, f"loss {report.loss:.3f}")
    typer.echo(f"{out}: learned for {config.passes} passes")


def compared_teachers(
    old: Path, new: Path, frames: Path, labels: Path, classes: str, *, device: str
) -> retraining.Comparison:
    """Two teachers."""
    before, after = (EmbeddedTeacher(device=pick_device(device), weights=_weights(one)) for one in (old, new))
    return teacher_head.compare_teachers(before, after, frames, labels, parse_classes(classes, VOC))


def compared(
    old: Path, new: Path, frames: Path, labels: Path, *, size: str | None, device: str
) -> retraining.Comparison:
    """Two students."""
    return retraining.compare(
        load_adapted(old),
        load_adapted(new),
        frames,
        labels,
        size_wh=parse_size(size) or load_adapted(old).size_wh,
        device=pick_device(device),
    )


def promote(comparison: retraining.Comparison, new: Path, *, place: Path | None, margin: float, as_json: bool) -> None:
    """Say who wins, and put in place."""
    is_promoted = place is not None and retraining.promote(comparison, new, place, margin=margin)
    if as_json:
        typer.echo(
            json.dumps(asdict(comparison) | {"is_better": comparison.is_better(margin), "promoted": is_promoted})
        )
        return
    verdict = "the new one wins" if comparison.is_better(margin) else "the old one stays"
    where = f"; put in {place}" if is_promoted else ""
    typer.echo(f"mean IoU {comparison.old:.3f} → {comparison.new:.3f} on {comparison.frames} frames: {verdict}{where}")
