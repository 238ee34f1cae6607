"""Live at a clip's own rate on this machine: frames dropped, latency, and accuracy beside the run that waits.

Each clip is run one after another, as fast as it goes, and then --turns times live, as a camera would give it, each by
what `stream run` does where no method is named. Teacher and student are the real ones, and so is the time that they
take. All frames are scored against labels that the same teacher gave to them before; these are made once and kept. Ends
with exit code 1 where a bar is missed: no frame dropped; p99 from the end of decoding to the labels within twice the
student's inference, as the median over the frames that it ran on and as that over all frames; mean IoU at most one
point below that of the run that waits. Quoted are means over the turns, with standard errors where there is more than
one.
"""

import json
import statistics
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import record
import torch

from narrowcast.core.config import to_dict
from narrowcast.core.errors import SourceError
from narrowcast.core.runs import RunFolder, read_reports
from narrowcast.core.runtime import describe, seed_everything
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.pretrained import student_called
from narrowcast.models.teacher import Teacher
from narrowcast.stream.allowance import made_to_give_way
from narrowcast.stream.clips import Clip
from narrowcast.stream.distill import DEFAULT, DEFAULT_LIVE, METHODS
from narrowcast.stream.label_cache import label_clip
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.live_run import run_live
from narrowcast.stream.run import RunConfig, run_stream
from narrowcast.video.source import open_source

DEFAULT_CACHE = record.REPOSITORY / "build" / "benchmark-labels"
BAR_LATENCY, BAR_POINTS = 2.0, 1.0
KEPT = (
    "frames",
    "dropped_frames",
    "teacher_frames",
    "updates",
    "swaps",
    "miou_pooled",
    "iou_per_class",
    "student_frames",
    "inference_ms_p50",
    "student_ms_p50",
    "student_ms_p99",
    "latency_ms_p50",
    "latency_ms_p99",
    "labels_age_p50",
    "weights_age_p50",
    "update_ms_p50",
    "teacher_ms_p50",
    "total_s",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A clip, the student's size on it, and what it is about."""

    name: str
    source: Path
    size_wh: tuple[int, int]
    classes: str
    max_frames: int | None = None


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--clips", default="vtest,one-by-one,cockatoo")
    parser.add_argument("--cockatoo", type=Path, default=record.REPOSITORY / "demo" / "cockatoo.mp4", help="make demo")
    parser.add_argument("--source", type=Path, help="another video instead")
    parser.add_argument("--teacher", default="deeplab-voc-tta", help="a card of recipes/teachers, or as everywhere")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder for the teacher's labels")
    parser.add_argument("--method", choices=METHODS, help="of all runs (default: what is the default of each)")
    parser.add_argument("--turns", type=int, default=3, help="live runs of each clip")
    parser.add_argument("--budget", type=float, default=0.0, help="as of narrowcast stream run")
    parser.add_argument("--labels-only", action="store_true", help="make the teacher's labels and stop")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    result = record.read(arguments.out, "live")
    result.pop("environment", None)
    for case in cases(arguments):
        labels = arguments.cache / case.name
        make_labels(case, arguments, labels, device)
        if arguments.labels_only:
            continue
        result[case.name] = measure(case, arguments, labels, device)
        record.write(arguments.out, "live", result, device=device)
        print(case.name, json.dumps(result[case.name]["bars"]))
    is_good = all(all(row["bars"].values()) for row in result.values())
    return 0 if is_good or arguments.quick or arguments.labels_only else 1


def cases(arguments: Namespace) -> list[Case]:
    """The clips that were asked for."""
    most = 24 if arguments.quick else None
    if arguments.source is not None:
        return [Case(arguments.source.stem, arguments.source, (96, 64), "all", most)]
    clips, about = record.data() / "clips", "person,car+bus=auto"
    known = {
        "vtest": Case("vtest", clips / "vtest.avi", (384, 288), about, most),
        # a minute of it, which shows what the rest does
        "one-by-one": Case("one-by-one", clips / "one-by-one-person-detection.mp4", (384, 216), about, most or 600),
        "cockatoo": Case("cockatoo", arguments.cockatoo, (640, 360), "bird", most),
    }
    chosen = [known[name] for name in arguments.clips.split(",")]
    if missing := [case.source for case in chosen if not case.source.exists()]:
        raise SourceError(f"{missing[0]}: no such file; --cockatoo names it (make demo)")
    return chosen


def teacher_of(arguments: Namespace, device: torch.device) -> Teacher:
    spec = record.card(arguments.teacher) if arguments.teacher.startswith("deeplab-voc") else arguments.teacher
    return load_teacher(spec, device=device, num_threads=arguments.threads)


def make_labels(case: Case, arguments: Namespace, folder: Path, device: torch.device) -> None:
    """The teacher's labels of every frame, where they are not there yet."""
    for report in label_clip(Clip(case.name, str(case.source)), teacher_of(arguments, device), folder,
                             max_frames=case.max_frames):  # fmt: skip
        if sys.stderr.isatty():
            print(f"\r{case.name}: labels {report.done}/{report.total}", end="", file=sys.stderr)


def measure(case: Case, arguments: Namespace, labels: Path, device: torch.device) -> dict[str, Any]:
    """The runs of one clip, and whether the bars are met."""
    waits = run(case, arguments, labels, device, live=None)
    own = LiveConfig(is_paced=True, when_late="drop-oldest", budget=arguments.budget)
    turns = [run(case, arguments, labels, device, live=own) for _ in range(arguments.turns)]
    mious = [turn["miou_pooled"] for turn in turns]
    points = 100 * (statistics.fmean(mious) - waits["miou_pooled"])
    late = [turn["latency_ms_p99"] / (turn["inference_ms_p50"] or turn["student_ms_p50"]) for turn in turns]
    late_of_all = [turn["latency_ms_p99"] / turn["student_ms_p50"] for turn in turns]
    return {
        "size_wh": list(case.size_wh),
        "teacher": arguments.teacher,
        "method": arguments.method or "unnamed",
        "waits": waits,
        "live": turns,
        "miou_live": statistics.fmean(mious),
        "points": points,
        "points_error": 100 * statistics.stdev(mious) / len(mious) ** 0.5 if len(mious) > 1 else None,
        "latency_p99_in_inferences": statistics.fmean(late),
        "latency_p99_in_medians_of_all_frames": statistics.fmean(late_of_all),
        "bars": {
            "no_frame_dropped": not any(turn["dropped_frames"] for turn in turns),
            "latency": statistics.fmean(late) <= BAR_LATENCY,
            "latency_in_medians_of_all_frames": statistics.fmean(late_of_all) <= BAR_LATENCY,
            "accuracy": points >= -BAR_POINTS,
        },
    }


def run(
    case: Case, arguments: Namespace, labels: Path, device: torch.device, *, live: LiveConfig | None
) -> dict[str, Any]:
    """One run, and its numbers."""
    kept = MaskFolderTeacher(labels)
    class_map = parse_classes(case.classes, kept.classes)
    expert = teacher_of(arguments, device) if live is None else made_to_give_way(lambda: teacher_of(arguments, device))
    config = RunConfig(
        source=case.name,
        teacher=arguments.teacher,
        classes=case.classes,
        size_wh=case.size_wh,
        outputs=(),
        score_every=1,
    )
    unnamed = DEFAULT if live is None else DEFAULT_LIVE
    config = replace(config, live=live, distill=METHODS[arguments.method] if arguments.method else unnamed)
    seed_everything(0)
    student = student_called("pretrained", class_map)
    about = {"config": to_dict(config), "classes": list(class_map.classes), "environment": describe(device)}
    with (
        tempfile.TemporaryDirectory() as temporary,
        open_source(case.source, max_frames=case.max_frames) as source,
        RunFolder.open(Path(temporary) / "run", about, resume=False) as folder,
    ):
        begin = run_stream if live is None else run_live
        for _ in begin(
            source,
            student,
            SelectedTeacher(expert, class_map),
            config=config,
            folder=folder,
            device=device,
            scorer=SelectedTeacher(kept, class_map),
        ):
            pass
        summary = json.loads((Path(temporary) / "run" / "summary.json").read_text(encoding="utf-8"))
        inferences = [
            report["timings_ms"]["student"] for report in read_reports(Path(temporary) / "run") if report["student_ran"]
        ]
    summary |= {"student_frames": len(inferences), "inference_ms_p50": statistics.median(inferences or [0.0])}
    return {name: summary[name] for name in KEPT if name in summary}


if __name__ == "__main__":
    record.main(main)
