"""One object of a video, given as a mask of its first frame: configurations A, B and C of section 2.4.8 on DAVIS-2016.

Ten sequences. Beside them what takes no learning: the masks that are given, held or moved by flow, from the first frame
on (with configuration A) and from every 16th (with C). J and F as the benchmark counts them, without the first and the
last frame; "alone" is what each says of a frame before it sees that frame's mask. It goes on from `--work`.
"""

import statistics
from pathlib import Path
from typing import Any

import evaluation
import record

from narrowcast.stream.data_sets import open_clips
from narrowcast.stream.evaluate import SUMMARY, EvalConfig, evaluate
from narrowcast.stream.methods import parse_methods

FIRST_ONLY = 100_000  # frames: no sequence is as long, so only the first mask is given
METHODS = f"davis-a,davis-b:embedded,davis-c,hold-{FIRST_ONLY},flow-dis-{FIRST_ONLY},hold-16,flow-dis-16"
QUICK_FRAMES = 20


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--streams", help="instead of davis2016.tar, as stream eval takes them, separated by spaces")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--size", type=int, default=evaluation.SIZE, help="the longest side, pixels")
    parser.add_argument("--work", type=Path, default=record.REPOSITORY / "build" / "objects")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    clips = [clip for clip in open_clips(evaluation.sources(arguments)) if clip.truth and len(clip.truth.classes) == 2]
    config = EvalConfig(
        teacher="labels",
        methods=tuple(parse_methods(arguments.methods)),
        size=arguments.size,
        max_frames=QUICK_FRAMES if arguments.quick else None,
    )
    folder = arguments.work / "eval"
    for report in evaluate(clips, None, config, out=folder, cache=arguments.work / "labels", device=device):
        if report.failure:
            print(report.failure, flush=True)
        elif report.row is not None:
            row = report.row
            print(f"{row['source']:24} {row['method']:20} J {row['truth']['j']['mean']:.3f}", flush=True)
    result = summarise(folder) | {"size": arguments.size, "threads": arguments.threads}
    print(record.table(["method", "J", "F", "J alone", "F alone", "s a frame"], _lines(result)))
    record.write(arguments.out, "davis-objects", result, device=device)
    return 0


def summarise(folder: Path) -> dict[str, Any]:
    """Each method's rows, and their means over sequences."""
    rows = [_row(row) for row in record.read(folder, Path(SUMMARY).stem)]
    methods = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        means = {key: statistics.fmean(row[key] for row in own) for key in ("j", "f", "j_alone", "f_alone")}
        cost = sum(row["total_s"] for row in own) / sum(row["frames"] for row in own)
        methods[method] = means | {"sequences": len(own), "s_per_frame": cost}
    return {"methods": methods, "rows": rows}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    truth = row["truth"]
    scores = {"j": "j", "f": "f", "j_alone": "j_of_predictions", "f_alone": "f_of_predictions"}
    return {key: row[key] for key in ("source", "method", "frames", "teacher_fraction", "updates", "total_s")} | {
        key: truth[name]["mean"] for key, name in scores.items()
    }


def _lines(result: dict[str, Any]) -> list[list[Any]]:
    keys = ("j", "f", "j_alone", "f_alone", "s_per_frame")
    return [[name, *(row[key] for key in keys)] for name, row in result["methods"].items()]


if __name__ == "__main__":
    record.main(main)
