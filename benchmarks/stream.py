"""Online distillation on real clips beside what does not learn: the frozen student, optical flow, held labels.

Every frame is scored against the labels that the same teacher gives to it; these are made once and kept on disk, while
the method under test calls the teacher itself and pays for it. What is scored is what a method said of a frame before
it saw the teacher's labels of that frame. Speed is the teacher's median time × frames over the method's whole time,
decoding included, scoring not. Results already there are kept, unless --again.
"""

import shutil
import statistics
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record
import torch

from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.runtime import describe
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.stream.bench import Bench, make_bench
from narrowcast.stream.clips import Clip
from narrowcast.stream.distill import METHODS
from narrowcast.stream.job import Job, run_job
from narrowcast.stream.label_cache import check_labels, label_clip
from narrowcast.stream.methods import parse_method
from narrowcast.stream.report import write_report

DEFAULT_METHODS = "thesis@0.7,thesis@0.8,thesis@0.9,default@0.8,frozen,flow@8,flow@16,hold@8,hold@16"
DEFAULT_CLASSES = "person,car+bus=auto"
DEFAULT_CACHE = record.REPOSITORY / "build" / "benchmark-labels"
QUICK_FRAMES = 24
KEPT = (
    "frames",
    "teacher_frames",
    "teacher_fraction",
    "updates",
    "miou_pooled",
    "miou_per_frame",
    "miou_pooled_without_teacher_frames",
    "miou_pooled_of_outputs",
    "iou_per_class",
    "student_ms_p50",
    "update_ms_p50",
    "teacher_ms_p50",
    "total_s",
    "teacher_every_frame_s",
    "speedup",
    "speedup_macs",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a method with its number ("default@0.8", "flow@8", "frozen"), a seed, and the frame to begin with."""

    method: str
    seed: int = 0
    phase: int = 0

    @property
    def key(self) -> str:
        seed = f", seed {self.seed}" if self.seed else ""
        return self.method + seed + (f", phase {self.phase}" if self.phase else "")


# ------------------------------------------------------------------------------------------------------ command line


def main() -> int:
    arguments = _parse()
    device = record.prepare(arguments)
    for clip, size_wh in _clips(arguments):
        setup = _setup(clip, size_wh, arguments)
        name, result = f"stream-{clip.name}", _earlier(arguments.out, f"stream-{clip.name}", setup, arguments.again)
        bench = _open_bench(clip, setup, arguments, device)
        rows = [row for row in _rows(arguments) if arguments.again or row.key not in result["rows"]]
        if rows:
            check_labels(clip, bench.expert, arguments.cache / clip.name, num_frames=bench.num_frames)
        for row in rows:
            found = run(row, bench, arguments.keep)
            result["rows"][row.key] = {"method": row.method, "seed": row.seed, "phase": row.phase} | found
            record.write(arguments.out, name, result, device=device)
        print(f"\n### {clip.name}, {size_wh[0]}×{size_wh[1]}\n")
        print(show(result["rows"], bench.class_map.classes))
    return 0


def _parse() -> Namespace:
    parser = record.parser(__doc__)
    parser.add_argument("--clips", default="vtest,one-by-one", help="of the data folder")
    parser.add_argument("--source", type=Path, help="another video instead; needs --size")
    parser.add_argument("--size", help="WxH of the student on --source")
    parser.add_argument("--teacher", default="deeplab-voc-tta", help="a card of recipes/teachers, or as everywhere")
    parser.add_argument("--classes", default=DEFAULT_CLASSES)
    parser.add_argument("--methods", default=DEFAULT_METHODS)
    parser.add_argument("--seeds", default="0", help="for methods that learn")
    parser.add_argument("--phases", default="0", help="frames left out at the start: 0,2,4,6 tells noise from gain")
    parser.add_argument("--max-frames", type=int, help="of the clip")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder for the teacher's labels")
    parser.add_argument("--keep", type=Path, help="folder that gets each run's report.html")
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    return parser.parse_args()


def _clips(arguments: Namespace) -> list[tuple[Clip, tuple[int, int]]]:
    """Each clip with the size that students work at."""
    if arguments.source is not None:
        width, _, height = (arguments.size or "").partition("x")
        if not (width.isdigit() and height.isdigit()):
            raise UsageError("--source needs --size WxH, as in --size 384x288")
        return [(Clip(arguments.source.stem, str(arguments.source)), (int(width), int(height)))]
    folder = record.data() / "clips"
    known = {
        "vtest": (Clip("vtest", str(folder / "vtest.avi")), (384, 288)),
        "one-by-one": (Clip("one-by-one", str(folder / "one-by-one-person-detection.mp4")), (384, 216)),
    }
    if unknown := [name for name in arguments.clips.split(",") if name not in known]:
        raise UsageError(f"--clips {unknown[0]}: expected some of {', '.join(known)}")
    return [known[name] for name in arguments.clips.split(",")]


def _rows(arguments: Namespace) -> Iterator[Row]:
    for method in arguments.methods.split(","):
        is_seeded = parse_method(library_name(method)).is_seeded
        for seed in (int(seed) for seed in arguments.seeds.split(",")) if is_seeded else [0]:
            for phase in arguments.phases.split(","):
                yield Row(method, seed, int(phase))


def _setup(clip: Clip, size_wh: tuple[int, int], arguments: Namespace) -> dict[str, Any]:
    return {
        "clip": clip.name,
        "size_wh": list(size_wh),
        "teacher": Path(arguments.teacher).stem,
        "classes": arguments.classes,
        "max_frames": arguments.max_frames or (QUICK_FRAMES if arguments.quick else None),
    }


def _open_bench(clip: Clip, setup: dict[str, Any], arguments: Namespace, device: torch.device) -> Bench:
    spec = record.card(arguments.teacher) if arguments.teacher.startswith("deeplab-voc") else arguments.teacher
    expert = load_teacher(spec, device=device, num_threads=arguments.threads)
    folder, num_frames = arguments.cache / clip.name, 0
    for report in label_clip(clip, expert, folder, max_frames=setup["max_frames"]):
        num_frames = report.done
    return make_bench(
        clip,
        expert,
        MaskFolderTeacher(folder),
        classes=arguments.classes,
        size=tuple(setup["size_wh"]),
        max_frames=setup["max_frames"],
        num_frames=num_frames,
        device=device,
    )


def _earlier(out: Path, name: str, setup: dict[str, Any], is_again: bool) -> dict[str, Any]:
    """The results that are there already, if they are of the same setup."""
    earlier = record.read(out, name)
    earlier.pop("environment", None)
    if earlier and earlier["setup"] != setup:
        if not is_again:
            raise ConfigError(f"{name}.json holds results of another setup; --again replaces it; or use another --out")
        earlier = {}
    return earlier or {"setup": setup, "rows": {}}


# ------------------------------------------------------------------------------------------------------------ methods


def run(row: Row, bench: Bench, keep: Path | None) -> dict[str, Any]:
    """One row of the table."""
    job = Job(bench.clip.name, library_name(row.method), row.seed, row.phase)
    with tempfile.TemporaryDirectory() as temporary:
        for _ in run_job(job, parse_method(job.method), bench, Path(temporary)):
            pass
        found = job.row(Path(temporary))
        assert found is not None
        if keep is not None and row.method.partition("@")[0] in METHODS:
            keep.mkdir(parents=True, exist_ok=True)
            name = f"{bench.clip.name}-{row.key.replace(', ', '-').replace(' ', '')}"
            shutil.copy(write_report(job.folder(Path(temporary))), keep / f"{name}.html")
    environment = describe(bench.device)
    kept = {name: found.get(name) for name in KEPT}
    return kept | {"commit": environment["commit"], "num_threads": environment["num_threads"]}


def library_name(method: str) -> str:
    """The name that `narrowcast stream eval` has for a method of ours: `flow@8` is `flow-dis-8`."""
    name, at, number = method.partition("@")
    return f"{'flow-dis' if name == 'flow' else name}{'-' if at else ''}{number}"


# ---------------------------------------------------------------------------------------------------------- the table


def show(rows: dict[str, Any], classes: tuple[str, ...]) -> str:
    """A line for each method: means over its seeds and phases, and the range of the first figure."""
    head = ["method", "mIoU", "without teacher frames", "of outputs", *classes[1:]]
    head += ["teacher", "updates", "speedup", "total s", "student ms", "update ms", "teacher ms", "runs"]
    methods: dict[str, list[dict[str, Any]]] = {}
    for row in rows.values():
        methods.setdefault(row["method"], []).append(row)
    return record.table(head, [_line(name, found, classes) for name, found in methods.items()])


def _line(name: str, rows: list[dict[str, Any]], classes: tuple[str, ...]) -> list[Any]:
    def mean(key: str, factor: float = 1) -> float | None:
        values = [row[key] * factor for row in rows if row[key] is not None]
        return statistics.fmean(values) if values else None

    pooled = [100 * row["miou_pooled"] for row in rows if row["miou_pooled"] is not None]
    spread = f" ({min(pooled):.1f} to {max(pooled):.1f})" if len(pooled) > 1 else ""
    per_class = [[row["iou_per_class"][one] for row in rows] for one in classes[1:]]
    return [
        name,
        f"{statistics.fmean(pooled):.1f}{spread}" if pooled else None,
        _percent(mean("miou_pooled_without_teacher_frames")),
        _percent(mean("miou_pooled_of_outputs")),
        *(_percent(statistics.fmean(values) if None not in values else None) for values in per_class),
        _percent(mean("teacher_fraction")),
        round(mean("updates") or 0),
        f"{mean('speedup') or 0:.2f} ×",
        mean("total_s"),
        *(mean(key) for key in ("student_ms_p50", "update_ms_p50", "teacher_ms_p50")),
        len(rows),
    ]


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    record.main(main)
