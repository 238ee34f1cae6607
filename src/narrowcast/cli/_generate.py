"""What `narrowcast stream generate` does, apart from parsing."""

import json
from pathlib import Path
from typing import Any

import typer

from narrowcast.cli._progress import Progress
from narrowcast.cli._run import parse_size
from narrowcast.stream.generate import generate
from narrowcast.video.drift import DriftConfig
from narrowcast.video.images import list_folder


def run(out: Path, size: str, settings: dict[str, Any], photos: Path | None, *, as_json: bool) -> None:
    """Write the stream and say where."""
    config = DriftConfig(size_wh=parse_size(size) or (640, 360), **settings)
    paths = list_folder(photos) if photos is not None else []
    with Progress("generate") as progress:
        for done in generate(out, config, paths):
            progress.show(done, config.frames, f"{progress.rate(done):.0f} fps")
    if as_json:
        typer.echo(json.dumps({"path": str(out), "frames": config.frames, "classes": list(config.class_names)}))
    else:
        typer.echo(f"{config.frames} frames\n{out}")
