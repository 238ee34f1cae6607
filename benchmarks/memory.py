"""Whether a run's memory depends on its length: resident memory over 20,000 frames of a looped clip.

The whole way of a run: decoding, student, a cheap teacher, learning, the labelled video, reports, checkpoints; with
`--live` teacher and learning in their thread, and the last five minutes of video, labels and reports kept.
"""

import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import hue_teacher
import psutil
import record
import torch

from narrowcast.core.config import to_dict
from narrowcast.core.errors import UsageError
from narrowcast.core.runs import RunFolder
from narrowcast.core.runtime import describe, seed_everything
from narrowcast.models.callable_teacher import CallableTeacher
from narrowcast.models.classes import parse_classes
from narrowcast.models.pretrained import STUDENT, load_shipped, student_for
from narrowcast.stream.distill import LEARNING
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.live_run import run_live
from narrowcast.stream.run import RunConfig, run_stream
from narrowcast.video.source import open_source

SIZE_WH, CLIP_FRAMES, MANY_LOOPS = (160, 96), 200, 1_000_000
BAR_PERCENT = 5.0


def main() -> int:
    parser = record.parser(__doc__, threads=1)  # the frames are small
    parser.add_argument("--source", type=Path, help="a clip to loop; a synthetic one unless given")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--warmup", type=int, default=1_000, help="frames that are not judged")
    parser.add_argument("--every", type=int, default=200, help="frames between samples")
    parser.add_argument("--live", action="store_true", help="as of narrowcast stream run; the result is memory-live")
    parser.add_argument("--output", default="overlay", help="as of narrowcast stream run")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    if arguments.quick:
        arguments.frames, arguments.warmup, arguments.every = 60, 20, 10
    if arguments.frames < arguments.warmup + arguments.every:
        raise UsageError(f"--frames {arguments.frames}: a sample must come after --warmup {arguments.warmup}")
    with tempfile.TemporaryDirectory() as temporary:
        curve = run(arguments, Path(temporary), device)
    result = judge(curve, arguments)
    print(f"resident memory after {arguments.warmup} frames: {result['after_warmup_mb']} MB, at the end "
          f"{result['at_end_mb']} MB, at most {result['max_deviation_percent']}% away from the former")  # fmt: skip
    record.write(arguments.out, "memory-live" if arguments.live else "memory", result, device=device)
    return 0 if arguments.quick or result["max_deviation_percent"] <= BAR_PERCENT else 1


def run(arguments: Namespace, folder: Path, device: torch.device) -> list[tuple[int, float]]:
    """(frame, resident memory in MB), sampled while the stream runs."""
    clip = arguments.source or record.synthetic_clip(folder / "clip.mp4", num_frames=CLIP_FRAMES, size_wh=SIZE_WH)
    teacher = CallableTeacher(hue_teacher.label, classes=hue_teacher.CLASSES, name="hue_teacher:label")
    config = RunConfig(source=clip.name, teacher="hue_teacher:label", size_wh=SIZE_WH, outputs=(arguments.output,),
                       distill=LEARNING, live=LiveConfig(keep_min=5) if arguments.live else None)  # fmt: skip
    seed_everything(config.seed)
    net, known = load_shipped(STUDENT)
    student = student_for(net, known, parse_classes("all", teacher.classes))
    about = {"config": to_dict(config), "classes": teacher.classes, "environment": describe(device)}
    process, curve = psutil.Process(), []
    with (
        open_source(clip, loops=MANY_LOOPS, max_frames=arguments.frames) as source,
        RunFolder.open(folder / "run", about, resume=False) as run_folder,
    ):
        begin = run_live if arguments.live else run_stream
        for report in begin(source, student, teacher, config=config, folder=run_folder, device=device):
            if (report.frame + 1) % arguments.every == 0:
                curve.append((report.frame + 1, process.memory_info().rss / 1e6))
                if sys.stderr.isatty():
                    print(f"\r{report.frame + 1} / {arguments.frames}", end="", file=sys.stderr)
    return curve


def judge(curve: list[tuple[int, float]], arguments: Namespace) -> dict[str, Any]:
    """How far memory goes from what it was after the warm-up."""
    judged = [rss_mb for frame, rss_mb in curve if frame >= arguments.warmup]
    deviations = [100 * abs(rss_mb - judged[0]) / judged[0] for rss_mb in judged]
    return {
        "clip": arguments.source.name if arguments.source else "synthetic",
        "frames": arguments.frames,
        "warmup": arguments.warmup,
        "size_wh": list(SIZE_WH),
        "output": arguments.output,
        "quick": arguments.quick,
        "after_warmup_mb": round(judged[0], 1),
        "at_end_mb": round(judged[-1], 1),
        "max_deviation_percent": round(max(deviations), 2),
        "bar_percent": BAR_PERCENT,
        "curve": [{"frame": frame, "rss_mb": round(rss_mb, 1)} for frame, rss_mb in curve],
    }


if __name__ == "__main__":
    record.main(main)
