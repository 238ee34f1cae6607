"""kill -9 at random moments, resumed each time, live and not: is the folder whole, and is every frame there once?

Runs with the default, whose student may have nothing to do, and with `learning`, which learns at every kill.

Each attempt is a process of its own (a fork of this one, which has imported everything and run nothing) that goes on
with the run and is killed after a random time. After each kill all that is on disk is read; when there have been
enough, the run goes on to its end, and reports, summary and video must have every frame once.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from pathlib import Path
from typing import Any

import record

from narrowcast.cli.app import main as narrowcast
from narrowcast.core import checkpoint
from narrowcast.core.errors import NarrowcastError
from narrowcast.core.runs import read_reports
from narrowcast.stream.run import CHECKPOINT
from narrowcast.video.source import open_source

SIZE_WH, CHECKPOINT_EVERY = (96, 64), 5
KINDS = {
    "live": ["--live", "--pace"],
    "one frame after another": [],
    "live, learning": ["--live", "--pace", "--method", "learning"],
    "one frame after another, learning": ["--method", "learning"],
}


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--kills", type=int, default=100, help="in all, a quarter in each kind of run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--span", type=float, default=3.0, help="a kill comes within so many seconds")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    if arguments.quick:
        arguments.kills, arguments.span = 4, 1.5
    result: dict[str, Any] = {"kills": arguments.kills, "checkpoint_every": CHECKPOINT_EVERY, "quick": arguments.quick}
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, options) in enumerate(KINDS.items()):
            result[name] = run(Path(temporary) / str(number), options, arguments)
            print(name, result[name], flush=True)
    record.write(arguments.out, "kills", result, device=device)
    return 0 if all(result[name]["is_whole"] for name in KINDS) else 1


def run(folder: Path, options: list[str], arguments: Namespace) -> dict[str, Any]:
    """One run, killed again and again."""
    kills, rng = arguments.kills // len(KINDS), random.Random(arguments.seed)
    # so many that it is seldom over before it is killed; the default is faster where it need not wait
    frames = (24 if "learning" in options or "--live" in options else 150) * max(4, kills)
    folder.mkdir()
    clip = record.synthetic_clip(folder / "clip.mp4", num_frames=frames, size_wh=SIZE_WH)
    out = folder / "run"
    words = ["stream", "run", str(clip), "--teacher", "hue_teacher:label", "--accuracy", "0.95", "--student", "jitnet"]
    words += [
        "--out",
        str(out),
        "--resume",
        "--device",
        "cpu",
        "--set",
        f"run.checkpoint_every={CHECKPOINT_EVERY}",
        *options,
    ]
    done, went_on_from = 0, []
    while done < kills:
        process = attempt(words)
        time.sleep(rng.uniform(0.0, arguments.span))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise NarrowcastError(f"{folder.name}: the run could not go on after {done} kills{why(folder)}")
            break  # over before it was killed
        done += 1
        went_on_from.append(whole_until(out))
    _, status = os.waitpid(attempt(words), 0)
    if status:
        raise NarrowcastError(f"{folder.name}: the run could not end after {done} kills{why(folder)}")
    return {
        "kills": done,
        "frames": frames,
        "different_frames_gone_on_from": len(set(went_on_from)),
    } | judge(out, frames)


def why(folder: Path) -> str:
    """What the last attempt died of, where it said so."""
    error = folder / "error.txt"
    return ":\n" + error.read_text() if error.exists() else ""


def attempt(words: list[str]) -> int:
    """The number of a process that goes on with the run."""
    process = os.fork()
    if process:
        return process
    os.chdir(record.HERE)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.path.insert(0, str(record.HERE))
    sys.argv = ["narrowcast", *words]
    try:
        narrowcast()
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    except BaseException:
        (Path(words[words.index("--out") + 1]).parent / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(70)


def whole_until(out: Path) -> int:
    """The frame to go on with; reading what is on disk must not fail."""
    reports = list(read_reports(out))  # every whole line is a report
    if not (out / CHECKPOINT).exists():
        return 0
    next_frame = checkpoint.load(out / CHECKPOINT)[1]["next_frame"]
    if [report["frame"] for report in reports[:next_frame]] != list(range(next_frame)):
        raise NarrowcastError(
            f"{out.name}: the reports do not reach frame {next_frame}, which the run would go on with"
        )
    return next_frame


def judge(out: Path, frames: int) -> dict[str, Any]:
    """Whether every frame is there once."""
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    with open_source(out / "labelled.mp4") as video:
        in_video = sum(1 for _ in video)
    reported = [report["frame"] for report in read_reports(out)]
    leftovers = [path.name for path in out.rglob(".*.tmp")]
    checks = {
        "reports_are_exact": reported == list(range(frames)),
        "summary_is_exact": (summary["status"], summary["frames"]) == ("finished", frames),
        "video_is_exact": in_video == frames,
        "nothing_is_left_over": not leftovers,
    }
    return checks | {"is_whole": all(checks.values())}


if __name__ == "__main__":
    record.main(main)
