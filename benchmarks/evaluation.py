"""Every method of `narrowcast stream eval` on videos, all sequences of DAVIS-2016 and drives of CamVid at hand.

Every frame is scored against the labels that the teacher gives to it, which are made once and kept; methods are charged
the teacher's median time for each call. It is the library's own evaluation, in a folder (`--work`) that can be gone on
with; its report.html is there. What is compared is what each method says where all of them put out the teacher's labels
on the frames on which they asked for them.
"Less flow at equal cost" is the method's mIoU less that of DIS flow at the same total cost: flow's points at strides of
4 to 64 frames, joined by straight lines over the logarithm of the speedup, ends held.
"""

import math
import re
import statistics
import tarfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.teacher import Teacher
from narrowcast.stream.ablations import ablations
from narrowcast.stream.clips import Clip
from narrowcast.stream.data_sets import open_clips
from narrowcast.stream.evaluate import SUMMARY, EvalConfig, evaluate
from narrowcast.stream.methods import parse_methods
from narrowcast.stream.street import CAMVID

METHODS = (
    "default-0.8,default-0.9,look-ahead-0.8,look-ahead-0.9,learning-0.8,thesis-0.7,thesis-0.8,thesis-0.9,"
    "flow-dis-4,flow-dis-8,flow-dis-16,flow-dis-32,flow-dis-64,"
    "flow-dis-ahead-4,flow-dis-ahead-8,flow-dis-ahead-16,flow-dis-ahead-32,"
    "flow-dis-fast-4,flow-dis-fast-8,flow-dis-fast-16,flow-dis-fast-32,flow-dis-fast-64,hold-8,hold-16,frozen"
)
TEACHER, CLASSES, SIZE = "deeplab-voc-tta", "person,car+bus=auto", 384
QUICK_FRAMES = 24
SCORE = "miou_pooled_with_teacher_labels"
RIVALS = ("flow-dis", "flow-dis-fast", "flow-dis-ahead", "hold")
KEPT = (
    "source",
    "method",
    "phase",
    "seed",
    "frames",
    "teacher_fraction",
    "updates",
    SCORE,
    "miou_pooled",
    "miou_pooled_without_teacher_frames",
    "miou_pooled_of_outputs",
    "miou_per_frame",
    "iou_per_class",
    "flicker",
    "total_s",
    "teacher_s",
    "learning_s",
    "student_s",
    "teacher_every_frame_s",
    "speedup",
    "speedup_macs",
    "student_ms_p50",
    "update_ms_p50",
    "teacher_ms_p50",
)


def main() -> int:
    arguments = _parse()
    device = record.prepare(arguments)
    config = EvalConfig(
        teacher=arguments.teacher,
        classes=arguments.classes,
        methods=tuple(ablations(arguments.ablate) if arguments.ablate else parse_methods(arguments.methods)),
        size=arguments.size,
        max_frames=QUICK_FRAMES if arguments.quick else arguments.max_frames,
        seeds=tuple(int(seed) for seed in arguments.seeds.split(",")),
        phases=tuple(int(phase) for phase in arguments.phases.split(",")),
        replays_teacher=True,
    )
    clips = open_clips(sources(arguments))
    groups = {clip.name: _group(clip) for clip in clips}
    expert = None if arguments.teacher == "labels" else _expert(arguments, device)
    cache = arguments.cache or arguments.work / "labels"
    failures = []
    for report in evaluate(clips, expert, config, out=arguments.work / "eval", cache=cache, device=device):
        if report.failure and report.failure not in failures:
            failures.append(report.failure)
            print(report.failure, flush=True)
        elif report.row is not None:
            row = report.row
            print(f"{row['source']:24} {row['method']:16} {row[SCORE]:.3f} {row['speedup']:.2f} x", flush=True)
    result = summarise(arguments.work / "eval" / SUMMARY, groups, failures) | {
        "setup": {name: getattr(arguments, name) for name in ("teacher", "classes", "size", "threads", "max_frames")}
    }
    print(
        record.table(
            ["method", "mIoU", "cost", "less flow at equal cost", "streams below", "less OpenCV's fast flow"],
            _lines(result),
        )
    )
    record.write(arguments.out, arguments.name, result, device=device)
    return 0


def _parse() -> Namespace:
    parser = record.parser(__doc__)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--ablate", metavar="METHOD", help="this method, and it with one thing changed at a time")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--phases", default="0", help="frames left out at the start")
    parser.add_argument("--max-frames", type=int, help="of each stream")
    parser.add_argument("--work", type=Path, default=record.REPOSITORY / "build" / "evaluation")
    parser.add_argument("--cache", type=Path, help="the teacher's labels (default: labels in --work)")
    parser.add_argument("--teacher", default=TEACHER, help="a card of recipes/teachers, or as in stream eval")
    parser.add_argument("--classes", default=CLASSES, help="of streams that have none of their own")
    parser.add_argument("--size", type=int, default=SIZE, help="the longest side, pixels")
    parser.add_argument("--streams", help="instead of all, as stream eval takes them, separated by spaces")
    parser.add_argument("--name", default="evaluation", help="of the result")
    return parser.parse_args()


def _expert(arguments: Namespace, device: torch.device) -> Teacher:
    spec = record.card(arguments.teacher) if arguments.teacher.startswith("deeplab-voc") else arguments.teacher
    return load_teacher(spec, device=device, num_threads=arguments.threads)


def sources(arguments: Namespace) -> list[str]:
    """The streams, those of archives unpacked below `--work`."""
    if arguments.streams:
        return arguments.streams.split()
    unpacked = {name: arguments.work / "data" / name for name in ("davis2016", "camvid")}
    for name, folder in unpacked.items():
        if not folder.exists():
            with tarfile.open(record.data() / f"{name}.tar") as archive:
                archive.extractall(folder.parent, filter="data")
    kinds = {"davis2016": "davis", "camvid": "camvid"}
    listed = f"list:{record.REPOSITORY / 'recipes' / 'streams.toml'}"
    return [listed, *(f"{kinds[name]}:{folder}" for name, folder in unpacked.items())]


# -------------------------------------------------------------------------------------------------------- what it says


def _group(clip: Clip) -> str:
    """The data set that a stream is of, or the stream itself."""
    if clip.truth is None:
        return clip.name
    return "CamVid" if set(CAMVID) <= set(clip.truth.classes) else "DAVIS-2016"


def summarise(summary: Path, groups: dict[str, str], failures: list[str]) -> dict[str, Any]:
    """The rows, and what each method comes to over all streams."""
    rows = [{key: row.get(key) for key in KEPT} for row in record.read(summary.parent, summary.stem)]
    sources = sorted({row["source"] for row in rows})
    by_method = {}
    order = list(parse_methods(METHODS))
    methods = dict.fromkeys(row["method"] for row in rows)
    for method in sorted(methods, key=lambda name: order.index(name) if name in order else len(order)):
        own = {source: _of(rows, source, method) for source in sources}
        by_method[method] = _method([found for found in own.values() if found], rows)
        by_method[method]["groups"] = {
            group: statistics.fmean(_mean(own[source], SCORE) for source in members)
            for group, members in _members(groups, sources).items()
            if all(own[source] for source in members)
        }
    return {"rows": rows, "methods": by_method, "streams": len(sources), "groups": groups, "failures": failures}


def _members(groups: dict[str, str], sources: list[str]) -> dict[str, list[str]]:
    return {group: [name for name in sources if groups[name] == group] for group in dict.fromkeys(groups.values())}


def _of(rows: list[dict[str, Any]], source: str, method: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["source"], row["method"]) == (source, method) and row[SCORE] is not None]


def _method(streams: list[list[dict[str, Any]]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over streams of means over phases and seeds; cost is the whole of all streams over the teacher's."""
    every = [row for found in streams for row in found]
    gaps = {rival: [_gap(found, rows, rival) for found in streams] for rival in RIVALS}
    known = {rival: [gap for gap in found if gap is not None] for rival, found in gaps.items()}
    return {
        "streams": len(streams),
        "runs": len(every),
        "miou": statistics.fmean(_mean(found, SCORE) for found in streams),
        "miou_without_teacher_frames": statistics.fmean(
            _mean(found, "miou_pooled_without_teacher_frames") for found in streams
        ),
        "speedup": sum(_mean(found, "teacher_every_frame_s") for found in streams)
        / sum(_mean(found, "total_s") for found in streams),
        "less_at_equal_cost": {rival: statistics.fmean(gap) if gap else None for rival, gap in known.items()},
        "streams_below_at_equal_cost": {rival: sum(gap < 0 for gap in found) for rival, found in known.items()},
    }


def _gap(own: list[dict[str, Any]], rows: list[dict[str, Any]], rival: str) -> float | None:
    """mIoU less that of `rival` at the same cost on the same stream, phase by phase; None where there are no points."""
    gaps = []
    for row in own:
        points = sorted(
            (math.log(other["speedup"]), other[SCORE])
            for other in rows
            if (other["source"], other["phase"]) == (row["source"], row["phase"])
            and re.fullmatch(rf"{rival}-\d+", other["method"])
        )
        if points:
            speeds, scores = zip(*points, strict=True)
            gaps.append(row[SCORE] - float(np.interp(math.log(row["speedup"]), speeds, scores)))
    return statistics.fmean(gaps) if gaps else None


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(row[key] for row in rows if row[key] is not None)


def _lines(result: dict[str, Any]) -> list[list[Any]]:
    return [
        [
            name,
            f"{100 * row['miou']:.1f}",
            f"{row['speedup']:.2f} x",
            None if (gap := row["less_at_equal_cost"]["flow-dis"]) is None else f"{100 * gap:+.1f}",
            row["streams_below_at_equal_cost"]["flow-dis"],
            None if (gap := row["less_at_equal_cost"]["flow-dis-fast"]) is None else f"{100 * gap:+.1f}",
        ]
        for name, row in result["methods"].items()
    ]


if __name__ == "__main__":
    record.main(main)
