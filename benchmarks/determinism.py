"""Whether runs repeat and survive, through the command line: the same seed twice, kill -9 in the middle, Ctrl-C.

Two runs with one seed must report the same of every frame but times, and leave the same student. A run that was killed
or interrupted and goes on with --resume must have every frame once, in reports and in video, and end where an
undisturbed run ends.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record

from narrowcast.core.errors import NarrowcastError
from narrowcast.core.runs import REPORTS, SUMMARY, read_reports
from narrowcast.stream.run import STUDENT
from narrowcast.video.source import open_source

SIZE_WH = (192, 128)
SAME = ("frames", "teacher_frames", "updates", "miou_pooled", "miou_per_frame", "iou_per_class", "speedup_macs")
WAIT_S = 600


@dataclass(frozen=True, slots=True)
class Case:
    """The command line but for --out, and how many frames it must give."""

    command: list[str]
    environment: dict[str, str]
    frames: int
    checkpoint_every: int


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--source", help="a video; a synthetic one unless given")
    parser.add_argument("--teacher", default="hue_teacher:label")
    parser.add_argument("--classes", default="all")
    parser.add_argument("--accuracy", default="0.95", help="high, so that there is much to learn")
    parser.add_argument("--size", default=f"{SIZE_WH[0]}x{SIZE_WH[1]}")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--seed", default="0")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        case = make_case(arguments, folder)
        checks = run_checks(case, folder)
    result = {
        "frames": case.frames,
        "teacher": Path(arguments.teacher).stem,
        "quick": arguments.quick,
        "checks": checks,
    }
    for name, holds in checks.items():
        print(f"{'yes' if holds else 'NO':>4}  {name}")
    record.write(arguments.out, "determinism", result, device=device)
    return 0 if all(checks.values()) else 1


def make_case(arguments: Namespace, folder: Path) -> Case:
    """What is run, again and again."""
    frames, checkpoint_every = (48, 16) if arguments.quick else (arguments.frames, 100)
    source = arguments.source or record.synthetic_clip(folder / "clip.mp4", num_frames=frames, size_wh=SIZE_WH)
    command = [sys.executable, "-m", "narrowcast", "stream", "run", str(Path(source).absolute()), "--json"]
    options = {
        "method": "learning",  # the default's student may be silent, and then there is little that could differ
        "teacher": arguments.teacher,
        "classes": arguments.classes,
        "accuracy": arguments.accuracy,
        "max-frames": frames,
        "size": arguments.size,
        "seed": arguments.seed,
        "device": arguments.device,
        "set": f"run.checkpoint_every={checkpoint_every}",
    }
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return Case(command, os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}, frames, checkpoint_every)


def run_checks(case: Case, folder: Path) -> dict[str, bool]:
    """Each claim, and whether it holds."""
    for name in ("first", "second"):
        run(case, folder / name)
    checks = {f"two runs: {claim}": holds for claim, holds in compare(folder / "first", folder / "second").items()}
    for name, number in (("killed", signal.SIGKILL), ("interrupted", signal.SIGINT)):
        disturb(case, folder / name, number)
        if number == signal.SIGINT:
            status = json.loads((folder / name / SUMMARY).read_text(encoding="utf-8"))["status"]
            checks["interrupted: ends with a summary that says so"] = status == "interrupted"
        run(case, folder / name, "--resume")
        claims = complete(case, folder / name) | compare(folder / "first", folder / name)
        checks |= {f"{name}, then resumed: {claim}": holds for claim, holds in claims.items()}
    return checks


def run(case: Case, out: Path, *options: str) -> None:
    """One whole run."""
    done = subprocess.run(
        [*case.command, "--out", str(out), *options],
        env=case.environment,
        cwd=record.HERE,  # where hue_teacher is
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    if done.returncode:
        raise NarrowcastError(f"the run {out.name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def disturb(case: Case, out: Path, number: signal.Signals) -> None:
    """A run that gets a signal after a checkpoint, in the middle."""
    command = [*case.command, "--out", str(out)]
    process = subprocess.Popen(
        command, env=case.environment, cwd=record.HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(lambda: process.poll() is not None or _lines(out) >= case.frames // 2 + case.checkpoint_every // 4)
        if process.poll() is not None:
            raise NarrowcastError(f"the run {out.name} was over before it could be disturbed; give more --frames")
        process.send_signal(number)
        process.wait(timeout=WAIT_S)
    finally:
        process.kill()
        process.wait()


def _wait(is_there: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not is_there():
        if time.monotonic() > until:
            raise NarrowcastError(f"nothing happened for {WAIT_S} s")
        time.sleep(0.005)


def _lines(out: Path) -> int:
    path = out / REPORTS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def compare(first: Path, second: Path) -> dict[str, bool]:
    """Whether two runs say the same, times aside."""
    one, other = (json.loads((folder / SUMMARY).read_text(encoding="utf-8")) for folder in (first, second))
    return {
        "the same reports": _reports(first) == _reports(second),
        "the same summary": all(one[name] == other[name] for name in SAME),
        "the same student": (first / STUDENT).read_bytes() == (second / STUDENT).read_bytes(),
    }


def complete(case: Case, folder: Path) -> dict[str, bool]:
    """Whether every frame is there once."""
    with open_source(folder / "labelled.mp4") as video:
        num_pictures = sum(1 for _ in video)
    return {
        "no frame missing or twice": [report["frame"] for report in _reports(folder)] == list(range(case.frames)),
        "as many frames in the video": num_pictures == case.frames,
    }


def _reports(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in report.items() if k != "timings_ms"} for report in read_reports(folder)]


if __name__ == "__main__":
    record.main(main)
