"""What `narrowcast stream apply` and `narrowcast stream export` do, apart from parsing."""

import json
from collections.abc import Iterable
from pathlib import Path

import typer

from narrowcast.cli._interrupt import stop_on_signal
from narrowcast.cli._progress import Progress
from narrowcast.cli._run import parse_size
from narrowcast.core.errors import UsageError
from narrowcast.core.runs import SUMMARY, RunFolder
from narrowcast.core.runtime import describe, pick_device
from narrowcast.models.onnx_export import export_onnx
from narrowcast.stream.apply import Adapted, apply, load_adapted
from narrowcast.stream.outputs import check_kinds
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.source import FrameSource, open_source


def run(
    student: Path,
    source: str,
    out: Path,
    size: str | None,
    output: list[str],
    max_frames: int | None,
    *,
    device: str,
    as_json: bool,
) -> None:
    """Open everything that can be wrong before the folder is touched, then label."""
    if "side-by-side" in output:
        raise UsageError("--output side-by-side: there is no teacher to show beside; use overlay, png or rle")
    check_kinds(output)
    if max_frames is not None and max_frames < 1:
        raise UsageError(f"--max-frames {max_frames}: must be at least 1")
    size_wh, where, adapted = parse_size(size), pick_device(device), _load(student)
    about = {
        "config": {"source": source, "student": str(student), "size_wh": size_wh, "outputs": output},
        "classes": list(adapted.classes),
        "environment": describe(where),
    }
    with (
        open_source(source, max_frames=max_frames) as frames,
        RunFolder.open(out, about, resume=False) as folder,
        stop_on_signal("this frame") as stop,
    ):
        reports = apply(
            adapted,
            frames,
            folder=folder,
            kinds=tuple(output),
            size_wh=size_wh,
            device=where,
            should_stop=lambda: stop.is_asked,
        )
        _show(reports, frames)
    text = (out / SUMMARY).read_text(encoding="utf-8")
    found = json.loads(text)
    typer.echo(text, nl=False) if as_json else typer.echo(f"{found['status']}: {found['frames']} frames\n{out}")
    stop.exit()


def _load(student: Path) -> Adapted:
    """The student, and a word on standard error where it was hardly taught."""
    adapted = load_adapted(student)
    if not adapted.always_learned:
        typer.echo(
            f"note: the run in {adapted.path.parent} taught its student only where that paid; for one that stands alone"
            " run it with --method learning",
            err=True,
        )
    return adapted


def export(student: Path, out: Path, size: str | None, *, as_json: bool) -> None:
    """Write and check the file."""
    adapted = _load(student)
    size_wh = parse_size(size) or adapted.size_wh
    if size_wh is None:
        raise UsageError(f"{student}: the size of its images is not known; give --size, as in --size 640x360")
    made = export_onnx(adapted.net, out, classes=adapted.classes, size_wh=size_wh)
    found = {
        "path": str(made.path),
        "card": str(made.card),
        "max_difference": made.max_difference,
        "same_labels": made.same_labels,
    }
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(f"{made.path}: logits differ by at most {made.max_difference:.1e} in ONNX Runtime; card {made.card}")


def _show(reports: Iterable[StreamReport], source: FrameSource) -> None:
    with Progress("apply") as progress:
        for done, report in enumerate(reports, start=1):
            progress.show(report.frame + 1, source.num_frames, f"{progress.rate(done):.1f} fps")
