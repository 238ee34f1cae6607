"""What `narrowcast loop` does with labels that are judged on the labelling page, apart from parsing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import typer

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.runtime import pick_device
from narrowcast.fleet import proposals
from narrowcast.fleet.proposals import Drawn, Verdict
from narrowcast.mine.labels import LabelEvent, LabelLog
from narrowcast.mine.pool import NameIndex, Pool
from narrowcast.models.classes import parse_classes
from narrowcast.models.load_teacher import load_teacher


def label(frames: Path, labels: Path, folder: Path, category: str, *, as_json: bool) -> None:
    """Make labels of what was judged right."""
    drawn, pool = proposals.drawn_for(frames), Pool.open(folder)
    verdicts = _verdicts(pool, category, drawn)
    judged = proposals.label_judged(drawn, verdicts, labels)
    if as_json:
        typer.echo(json.dumps(asdict(judged)))
        return
    typer.echo(
        f"{labels}: {judged.frames} frames labelled; of {judged.photos} proposals judged {judged.right} were right"
    )
    if judged.several:
        typer.echo(f"  {judged.several} frames had several right ones: the newest counts")
    if judged.without:
        typer.echo(
            f"  {judged.without} frames are left out: none right; {judged.waiting} of them not judged to the end"
        )


def _verdicts(pool: Pool, category: str, drawn: Sequence[Drawn]) -> dict[Path, Verdict]:
    """What the label log says of the pictures; those of other pictures in the pool are passed over."""
    with LabelLog.open(pool.path) as log:
        said = log.labels(category).train
    places = {item: place for place, item in enumerate(said)}
    found = {}
    for photo, item in _items(pool, drawn).items():
        if item in said:
            found[photo] = Verdict(said[item] == "positive", places[item])
    return found


def _items(pool: Pool, drawn: Sequence[Drawn]) -> dict[Path, str]:
    """The identity of each picture.

    Raises:
        SourceError: none is in the pool.
    """
    index, items = NameIndex(pool), pool.items()
    numbers = {one.photo: index.get(str(one.photo)) for one in drawn}
    found = {photo: items[number] for photo, number in numbers.items() if number is not None}
    if not found:
        photos = drawn[0].photo.parent
        raise SourceError(
            f"{pool.path}: holds none of {photos}; run narrowcast mine index {photos} --pool {pool.path} --alone"
        )
    return found


def judge(
    frames: Path, folder: Path, category: str, spec: str, classes: str, *, least: float, device: str, as_json: bool
) -> None:
    """Let a teacher say which proposals are right, in a person's place."""
    if not 0 < least <= 1:
        raise UsageError(f"--least {least}: a mean IoU above 0, up to 1")
    drawn, pool = proposals.drawn_for(frames), Pool.open(folder)
    items = _items(pool, drawn)
    teacher = load_teacher(spec, device=pick_device(device), num_threads=torch.get_num_threads())
    rated = proposals.rated(drawn, frames, teacher, parse_classes(classes, teacher.classes))
    events = [
        LabelEvent(
            category=category,
            item=items[one.photo],
            value="positive" if iou >= least else "negative",
            who=Path(spec).stem,
            reason=f"mean IoU {iou:.3f}",
            path=str(one.photo),
        )
        for one, iou in rated
        if one.photo in items
    ]
    with LabelLog.open(folder) as log:
        if category not in log.categories():
            log.begin(category, who=Path(spec).stem)
        log.add(events)
    right = sum(event.value == "positive" for event in events)
    told = {"photos": len(events), "right": right, "least": least}
    text = f"{category}: {right} of {len(events)} proposals are right (mean IoU of {least} or more with {spec})"
    typer.echo(json.dumps(told) if as_json else text)
