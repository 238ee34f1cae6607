"""What `narrowcast stream eval` does, apart from parsing."""

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer

from narrowcast.cli._interrupt import Stop, stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.core.errors import DivergedError, UsageError
from narrowcast.core.runtime import pick_device
from narrowcast.models.load_teacher import load_teacher
from narrowcast.stream.ablations import ablations
from narrowcast.stream.data_sets import open_clips
from narrowcast.stream.evaluate import SUMMARY, EvalConfig, EvalProgress, evaluate
from narrowcast.stream.methods import parse_methods

LABELS = "labels"  # the teacher's name where a data set's own labels are the teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """The command line of `stream eval`, as typed."""

    sources: list[str]
    teacher: str
    out: Path
    classes: str
    methods: str
    size: str | None
    max_frames: int | None
    seeds: str
    phases: str
    ablate: str | None
    cache: Path | None
    replays_teacher: bool
    device: str


def run(request: EvalRequest, *, as_json: bool) -> None:
    """Check what can be checked, run what is missing, then say what came of it."""
    config = EvalConfig(
        teacher=request.teacher,
        classes=request.classes,
        methods=tuple(parse_methods(request.methods) | dict.fromkeys(_varied(request.ablate))),
        size=_parse_size(request.size),
        max_frames=request.max_frames,
        seeds=_numbers("--seeds", request.seeds),
        phases=_numbers("--phases", request.phases),
        replays_teacher=request.replays_teacher,
    )
    clips = open_clips(request.sources)
    device = pick_device(request.device)
    is_own = request.teacher == LABELS
    expert = None if is_own else load_teacher(request.teacher, device=device, num_threads=torch.get_num_threads())
    with stop_on_signal("this frame") as stop:
        reports = evaluate(
            clips,
            expert,
            config,
            out=request.out,
            cache=request.cache or request.out / "labels",
            device=device,
            should_stop=lambda: stop.is_asked,
        )
        with closing(reports):
            failures = _show(reports, stop)
    stop.exit()
    rows = json.loads((request.out / SUMMARY).read_text(encoding="utf-8"))
    typer.echo(json.dumps(rows, indent=2)) if as_json else _tell(rows, request.out)
    if failures:
        raise DivergedError("; ".join(failures))


def _varied(method: str | None) -> list[str]:
    return [] if method is None else ablations(method)


def _parse_size(text: str | None) -> tuple[int, int] | int | None:
    if text is None:
        return None
    width, by, height = text.lower().partition("x")
    if not width.isdigit() or (by and not height.isdigit()) or not int(width) or (by and not int(height)):
        raise UsageError(f"--size {text}: expected WIDTHxHEIGHT or the longest side in pixels, as in 640x360 or 640")
    return (int(width), int(height)) if by else int(width)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: expected numbers from 0, as in 0,1,2") from None


def _show(reports: Iterable[EvalProgress], stop: Stop) -> list[str]:
    """Drain `reports`, a progress line for each job; what failed."""
    progress, current, failures = None, None, []
    for report in reports:
        label = f"{report.clip}  {report.what}" + (f"  {report.job}/{report.num_jobs}" if report.num_jobs else "")
        if label != current:
            if progress is not None:
                progress.__exit__(None, None, None)
            progress, current = Progress(label), label
        assert progress is not None
        failures += [report.failure] if report.failure else []
        progress.show(report.done, report.total, report.failure or _score(report.row))
        if stop.is_asked:
            break
    if progress is not None:
        progress.__exit__(None, None, None)
    return failures


def _score(row: Any) -> str:
    return "" if row is None else f"mean IoU {_percent(row['miou_pooled'])}, {row['speedup']:.1f} ×"


def _tell(rows: list[dict[str, Any]], out: Path) -> None:
    """A line for each row on stdout."""
    from rich.console import Console  # here, since importing it draws from the global random generator
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("source", "method", "phase", "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("mIoU", "with teacher labels", "without teacher frames", "teacher", "total s", "speedup"):
        table.add_column(name, justify="right")
    for row in rows:
        scores = ("miou_pooled", "miou_pooled_with_teacher_labels", "miou_pooled_without_teacher_frames")
        table.add_row(
            row["source"],
            row["method"],
            str(row["phase"]),
            str(row["seed"]),
            *(_percent(row[name]) for name in (*scores, "teacher_fraction")),
            f"{row['total_s']:.1f}",
            f"{row['speedup']:.2f} ×",
        )
    Console(width=160, highlight=False, markup=False).print(table)
    typer.echo(out / "report.html")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
