"""What all benchmarks share: where results go, how a result names its machine, where real data is."""

import json
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import torch

from narrowcast.core.errors import NarrowcastError, SourceError
from narrowcast.core.files import write_json
from narrowcast.core.runtime import describe, pick_device
from narrowcast.video.synth import moving_shapes
from narrowcast.video.writer import VideoWriter

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
RESULTS = HERE / "results"
CLIP_FPS = Fraction(25)


def parser(description: str | None, *, threads: int = 2) -> ArgumentParser:
    """A parser with the options that every benchmark has."""
    made = ArgumentParser(description=(description or "").split("\n")[0])
    made.add_argument("--threads", type=int, default=threads, help="threads of torch, OpenCV and LiteRT")
    made.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N")
    made.add_argument("--out", type=Path, help="folder for the JSON (default: benchmarks/results, but not if quick)")
    made.add_argument("--quick", action="store_true", help="seconds instead of minutes: shows that the script works")
    return made


def prepare(arguments: Namespace) -> torch.device:
    """Set threads and the folder for results; the device that was asked for."""
    if arguments.out is None:
        arguments.out = Path(tempfile.mkdtemp(prefix="narrowcast-")) if arguments.quick else RESULTS
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    return pick_device(arguments.device)


def write(folder: Path, name: str, result: dict[str, Any], *, device: torch.device) -> None:
    """Write `folder`/`name`.json with the environment in front, and say where it is."""
    write_json(folder / f"{name}.json", {"environment": describe(device)} | result)
    shown = folder.relative_to(REPOSITORY) if folder.is_relative_to(REPOSITORY) else folder
    print(f"wrote {shown}/{name}.json", file=sys.stderr)


def read(folder: Path, name: str) -> dict[str, Any]:
    """What `write` wrote; empty where there is nothing yet."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def data() -> Path:
    """The folder of real data, which cards of teachers then find as well."""
    folder = Path(os.environ.setdefault("NARROWCAST_DATA", str(REPOSITORY.parent / "shared" / "data")))
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; NARROWCAST_DATA must name the one with the real data")
    return folder


def card(name: str) -> str:
    """The path of a teacher's card among the recipes; its weights are in `data()`."""
    data()
    return str(REPOSITORY / "recipes" / "teachers" / f"{name}.toml")


def synthetic_clip(path: Path, *, num_frames: int, size_wh: tuple[int, int]) -> Path:
    """A video of moving shapes, always the same; `hue_teacher` knows its colours."""
    with VideoWriter(path, fps=CLIP_FPS) as video:
        for frame, _ in moving_shapes(num_frames=num_frames, size_wh=size_wh, num_classes=4, fps=CLIP_FPS):
            video.write(frame.image_rgb, frame.time_s)
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers are rounded, None is a dash."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def main(run: Any) -> None:
    """Call `run()` and exit with what it returns; what the user can mend is one line."""
    try:
        sys.exit(run())
    except NarrowcastError as error:
        sys.exit(f"Error: {error}")
