"""Online distillation on real clips beside what does not learn: the frozen student, optical flow, held labels.

Every frame is scored against the labels that the same teacher gives to it; these are made once and kept on disk, while
the method under test calls the teacher itself and pays for it. What is scored is what a method said of a frame before
it saw the teacher's labels of that frame. Speed is the teacher's median time × frames over the method's whole time,
decoding included, scoring not. Results already there are kept, unless --again.
"""

import shutil
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import record
import torch

from narrowcast.core.config import to_dict
from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.frames import Frame
from narrowcast.core.runs import SUMMARY, RunFolder
from narrowcast.core.runtime import describe, seed_everything
from narrowcast.models.classes import ClassMap, SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.mask_folder import CLASSES_FILE, MaskFolderTeacher
from narrowcast.models.pretrained import STUDENT, load_shipped, student_for
from narrowcast.models.student import AnyStudent
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.stream.baselines import flow, frozen, hold
from narrowcast.stream.distill import METHODS, StreamReport, score_labels, with_accuracy
from narrowcast.stream.run import RunConfig, run_stream
from narrowcast.stream.scores import SegmentationScores
from narrowcast.video.labels import write_label_png
from narrowcast.video.prefetch import prefetch
from narrowcast.video.source import FrameSource, open_source

DEFAULT_METHODS = "thesis@0.7,thesis@0.8,thesis@0.9,default@0.8,frozen,flow@8,flow@16,hold@8,hold@16"
DEFAULT_CLASSES = "person,car+bus=auto"
DEFAULT_CACHE = record.REPOSITORY / "build" / "benchmark-labels"
PROPAGATED = {"flow": flow, "hold": hold}
QUICK_FRAMES, TEACHER_SAMPLES = 24, 5
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
class Clip:
    """A video, and the size that students work at."""

    name: str
    path: Path
    size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Job:
    """One row: a method with its number ("default@0.8", "flow@8", "frozen"), a seed, and the frame to begin with."""

    method: str
    seed: int = 0
    phase: int = 0

    @property
    def key(self) -> str:
        seed = f", seed {self.seed}" if self.seed else ""
        return self.method + seed + (f", phase {self.phase}" if self.phase else "")


@dataclass(slots=True)
class Bench:
    """What all methods on one clip share."""

    clip: Clip
    teacher: SelectedTeacher
    class_map: ClassMap
    labels: Teacher
    device: torch.device
    max_frames: int | None
    keep: Path | None
    setup: dict[str, Any]


# ------------------------------------------------------------------------------------------------------ command line


def main() -> int:
    arguments = _parse()
    device = record.prepare(arguments)
    for clip in _clips(arguments):
        bench, name = _open_bench(clip, arguments, device), f"stream-{clip.name}"
        result = _earlier(arguments.out, name, bench.setup, is_again=arguments.again)
        jobs = [job for job in _jobs(arguments) if arguments.again or job.key not in result["rows"]]
        if jobs:
            check_labels(bench)
        for job in jobs:
            row = run(job, bench)
            result["rows"][job.key] = {"method": job.method, "seed": job.seed, "phase": job.phase} | row
            record.write(arguments.out, name, result, device=device)
        print(f"\n### {clip.name}, {clip.size_wh[0]}×{clip.size_wh[1]}\n")
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


def _clips(arguments: Namespace) -> list[Clip]:
    if arguments.source is not None:
        width, _, height = (arguments.size or "").partition("x")
        if not (width.isdigit() and height.isdigit()):
            raise UsageError("--source needs --size WxH, as in --size 384x288")
        return [Clip(arguments.source.stem, arguments.source, (int(width), int(height)))]
    folder = record.data() / "clips"
    known = {
        "vtest": Clip("vtest", folder / "vtest.avi", (384, 288)),
        "one-by-one": Clip("one-by-one", folder / "one-by-one-person-detection.mp4", (384, 216)),
    }
    if unknown := [name for name in arguments.clips.split(",") if name not in known]:
        raise UsageError(f"--clips {unknown[0]}: expected some of {', '.join(known)}")
    return [known[name] for name in arguments.clips.split(",")]


def _jobs(arguments: Namespace) -> Iterator[Job]:
    for method in arguments.methods.split(","):
        name = method.partition("@")[0]
        if name not in {*METHODS, *PROPAGATED, "frozen"}:
            raise UsageError(f"--methods {method}: expected frozen, {', '.join(PROPAGATED)}, {' or '.join(METHODS)}")
        for seed in (int(seed) for seed in arguments.seeds.split(",")) if name in METHODS else [0]:
            for phase in arguments.phases.split(","):
                yield Job(method, seed, int(phase))


def _open_bench(clip: Clip, arguments: Namespace, device: torch.device) -> Bench:
    spec = record.card(arguments.teacher) if arguments.teacher.startswith("deeplab-voc") else arguments.teacher
    expert = load_teacher(spec, device=device, num_threads=arguments.threads)
    class_map = parse_classes(arguments.classes, expert.classes)
    max_frames = arguments.max_frames or (QUICK_FRAMES if arguments.quick else None)
    labels = label_all(clip, expert, arguments.cache / clip.name, max_frames=max_frames)
    setup = {
        "clip": clip.name,
        "size_wh": list(clip.size_wh),
        "teacher": Path(arguments.teacher).stem,
        "classes": arguments.classes,
        "max_frames": max_frames,
    }
    teacher, truth = SelectedTeacher(expert, class_map), SelectedTeacher(labels, class_map)
    return Bench(clip, teacher, class_map, truth, device, max_frames, arguments.keep, setup)


def _earlier(out: Path, name: str, setup: dict[str, Any], *, is_again: bool) -> dict[str, Any]:
    """The results that are there already, if they are of the same setup."""
    earlier = record.read(out, name)
    earlier.pop("environment", None)
    if earlier and earlier["setup"] != setup:
        if not is_again:
            raise ConfigError(f"{name}.json holds results of another setup; --again replaces it; or use another --out")
        earlier = {}
    return earlier or {"setup": setup, "rows": {}}


# ------------------------------------------------------------------------------------------------------- true labels


def label_all(clip: Clip, expert: Teacher, folder: Path, *, max_frames: int | None) -> MaskFolderTeacher:
    """The expert's labels of every frame, made where they are missing: PNGs named by frame, and `classes.txt`."""
    with open_source(clip.path, max_frames=max_frames) as source:
        for frame in source:
            path = folder / f"{frame.index:08}.png"
            if not path.exists():
                write_label_png(path, expert(frame.image_rgb, frame_index=frame.index).labels)
    if not (folder / CLASSES_FILE).exists():
        (folder / CLASSES_FILE).write_text("\n".join(expert.classes) + "\n", encoding="utf-8")
    return MaskFolderTeacher(folder)


def check_labels(bench: Bench) -> None:
    """The kept labels are this teacher's: a frame from the middle says so."""
    with open_source(bench.clip.path, max_frames=bench.max_frames) as source:
        middle = (source.num_frames or 2) // 2
    with open_source(bench.clip.path, start_index=middle, max_frames=1) as source:
        for frame in source:
            ours, kept = (one(frame.image_rgb, frame_index=frame.index).labels for one in (bench.teacher, bench.labels))
            if np.mean(ours != kept) > 0.001:  # a few pixels may differ between processors
                raise ConfigError(f"the labels kept of {bench.clip.name} are not this teacher's; use another --cache")


@final
class Later:
    """A source that was begun at frame `phase`, counted from 0 all the same."""

    def __init__(self, source: FrameSource, phase: int) -> None:
        self.fps, self._source, self._phase = source.fps, source, phase

    @property
    def truncated(self) -> str | None:
        return self._source.truncated

    @property
    def damaged(self) -> int:
        return self._source.damaged

    def __iter__(self) -> Iterator[Frame]:
        return (replace(frame, index=frame.index - self._phase) for frame in self._source)


@final
class LaterLabels:
    """Kept labels for a `Later` source."""

    def __init__(self, labels: Teacher, phase: int) -> None:
        self.classes, self._labels, self._phase = labels.classes, labels, phase

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        assert frame_index is not None
        return self._labels(image_rgb, frame_index=frame_index + self._phase)


# ------------------------------------------------------------------------------------------------------------ methods


def run(job: Job, bench: Bench) -> dict[str, Any]:
    """One row of the table."""
    name, _, number = job.method.partition("@")
    with _opened(job, bench) as source:
        if name in METHODS:
            row = _run_learning(job, bench, source, name, number)
        else:
            row = _run_baseline(job, bench, source, name, number)
    environment = describe(bench.device)
    return row | {"commit": environment["commit"], "num_threads": environment["num_threads"]}


@contextmanager
def _opened(job: Job, bench: Bench) -> Iterator[FrameSource | Later]:
    rest = None if bench.max_frames is None else bench.max_frames - job.phase
    with open_source(bench.clip.path, start_index=job.phase, max_frames=rest) as source:
        yield Later(source, job.phase) if job.phase else source


def _student(bench: Bench) -> AnyStudent:
    net, known = load_shipped(STUDENT)
    return student_for(net, known, bench.class_map)


def _run_learning(job: Job, bench: Bench, source: FrameSource | Later, name: str, accuracy: str) -> dict[str, Any]:
    seed_everything(job.seed)
    distill = replace(METHODS[name], seed=job.seed)
    config = RunConfig(
        source=bench.clip.name,
        teacher=bench.setup["teacher"],
        classes=bench.setup["classes"],
        distill=with_accuracy(distill, float(accuracy)) if accuracy else distill,
        size_wh=bench.clip.size_wh,
        score_every=1,
        outputs=(),
        seed=job.seed,
    )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / f"{bench.clip.name}-{job.key.replace(', ', '-').replace(' ', '')}"
        about = {"config": to_dict(config), "classes": bench.teacher.classes, "environment": describe(bench.device)}
        with RunFolder.open(path, about, resume=False) as folder:
            for _ in run_stream(
                source,  # type: ignore[arg-type]  # a FrameSource but for the numbers of its frames
                _student(bench),
                bench.teacher,
                config=config,
                folder=folder,
                device=bench.device,
                scorer=LaterLabels(bench.labels, job.phase),
            ):
                pass
        if bench.keep is not None:
            bench.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(path / "report.html", bench.keep / f"{path.name}.html")
        summary = record.read(path, SUMMARY.removesuffix(".json"))
    return {name: summary.get(name) for name in KEPT}


def _run_baseline(job: Job, bench: Bench, source: FrameSource | Later, name: str, every: str) -> dict[str, Any]:
    size_wh = bench.clip.size_wh
    if name == "frozen":
        method = partial(frozen, student=_student(bench), size_wh=size_wh, device=bench.device)
    else:
        method = partial(PROPAGATED[name], teacher=bench.teacher, every=int(every), size_wh=size_wh)
    with prefetch(source) as frames:
        tally = _Tally(bench.teacher.classes)
        tally.run(method, frames, LaterLabels(bench.labels, job.phase))
    if "teacher" not in tally.timings_ms:
        tally.timings_ms["teacher"] = time_teacher(bench)
    return tally.row()


def time_teacher(bench: Bench) -> list[float]:
    """The teacher's time on a few frames, for a method that does not call it."""
    times_ms = []
    with open_source(bench.clip.path, max_frames=TEACHER_SAMPLES + 1) as source:
        for frame in source:
            started = time.perf_counter()
            bench.teacher(frame.image_rgb, frame_index=frame.index)
            times_ms.append((time.perf_counter() - started) * 1e3)
    return times_ms[1:] or times_ms


@final
class _Tally:
    """What `stream.run` and `stream.summary` count, for methods that are not theirs."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.scores = SegmentationScores(classes)
        self.timings_ms: dict[str, list[float]] = {}
        self.frames = self.teacher_frames = 0
        self.total_s = 0.0

    def run(
        self, method: Callable[[Iterable[Frame]], Iterator[StreamReport]], frames: Iterable[Frame], labels: Teacher
    ) -> None:
        """Run `method` and score it, without the time that scoring takes."""
        seen: list[Frame] = []

        def remembered() -> Iterator[Frame]:
            for frame in frames:
                seen[:] = [frame]
                yield frame

        started = time.perf_counter()
        for report in method(remembered()):
            self.total_s += time.perf_counter() - started
            self._add(report, score_labels(report, labels(seen[0].image_rgb, frame_index=report.frame).labels))
            started = time.perf_counter()
        self.total_s += time.perf_counter() - started

    def _add(self, report: StreamReport, truth: np.ndarray) -> None:
        self.scores.add(report, truth)
        self.frames += 1
        self.teacher_frames += report.teacher_ran
        for name, value in report.timings_ms.items():
            self.timings_ms.setdefault(name, []).append(value)

    def row(self) -> dict[str, Any]:
        """The row, with the keys of `summary.json`."""
        teacher_ms = statistics.median(self.timings_ms["teacher"])
        every_frame_s = teacher_ms * self.frames / 1e3
        found = {
            "frames": self.frames,
            "teacher_frames": self.teacher_frames,
            "teacher_fraction": self.teacher_frames / self.frames,
            "updates": 0,
            "miou_pooled": self.scores.predictions.pooled,
            "miou_per_frame": self.scores.predictions.per_frame,
            "miou_pooled_without_teacher_frames": self.scores.without_teacher.pooled,
            "miou_pooled_of_outputs": self.scores.outputs.pooled,
            "iou_per_class": self.scores.predictions.per_class,
            "student_ms_p50": statistics.median(self.timings_ms["student"]),
            "teacher_ms_p50": teacher_ms,
            "total_s": self.total_s,
            "teacher_every_frame_s": every_frame_s,
            "speedup": every_frame_s / self.total_s,
        }
        return {name: found.get(name) for name in KEPT}


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
