"""Many methods on many streams, scored alike: a generator of progress that leaves a folder of results.

Every frame is scored against the labels that the teacher gives to it; these are made once and kept (`label_cache`),
while the method under test calls the teacher itself and pays for it. What is scored is what a method said of a frame
before it saw the teacher's labels of that frame. Decoding is part of a method's time, scoring is not.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from narrowcast.core.config import difference, to_dict
from narrowcast.core.errors import DivergedError, StorageError, UsageError
from narrowcast.core.files import read_object, write_json
from narrowcast.core.runs import SUMMARY
from narrowcast.core.runtime import describe
from narrowcast.models.teacher import Teacher
from narrowcast.stream.bench import Bench, charge_of, label, make_bench
from narrowcast.stream.clips import Clip
from narrowcast.stream.evaluation_report import write_evaluation_report
from narrowcast.stream.evaluation_samples import keep_samples
from narrowcast.stream.job import RUNS, Job, read_row, run_job
from narrowcast.stream.label_cache import CacheReport
from narrowcast.stream.methods import Method, parse_methods

SETUP, TEACHER_TIMES = "eval.json", "teacher-times.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """What an evaluation compares; all but `methods`, `seeds` and `phases` must stay the same to add to its folder.

    Attributes:
        teacher: as given.
        classes: what streams are about that do not say so themselves.
        methods: names (`stream.methods`).
        size: the students' working size, (width, height) or the longest side; None: the frames' own.
        max_frames: of each source; None: all.
        seeds: of methods that learn; others run once.
        phases: frames that are left out at the start, one run each: the spread tells gain from noise.
        replays_teacher: the methods get the teacher's kept labels and are charged its median time, instead of calling
            it: fast, and the same result where the teacher has no boxes.
    """

    teacher: str
    classes: str = "all"
    methods: tuple[str, ...]
    size: tuple[int, int] | int | None = None
    max_frames: int | None = None
    seeds: tuple[int, ...] = (0,)
    phases: tuple[int, ...] = (0,)
    replays_teacher: bool = False

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"--max-frames {self.max_frames}: must be at least 1")
        for name in ("seeds", "phases"):
            values = getattr(self, name)
            if not values or min(values) < 0 or len(set(values)) < len(values):
                shown = ",".join(map(str, values))
                raise UsageError(f"--{name} {shown}: expected different numbers from 0, as in 0,1,2")
        if self.max_frames is not None and max(self.phases) >= self.max_frames:
            raise UsageError(f"--phases {max(self.phases)}: leaves nothing of --max-frames {self.max_frames}")


@dataclass(frozen=True, slots=True)
class EvalProgress:
    """Where an evaluation stands.

    Attributes:
        clip: the stream's name.
        what: "labels", or the method's name.
        done, total: frames of this stream.
        job, num_jobs: the job's number from 1, and how many there are to run; 0 while labels are made.
        row: the result of a job that has just ended.
        failure: why it has none: the method diverged.
    """

    clip: str
    what: str
    done: int
    total: int | None
    job: int = 0
    num_jobs: int = 0
    row: Mapping[str, Any] | None = field(default=None, repr=False)
    failure: str | None = None


def evaluate(
    clips: Sequence[Clip],
    expert: Teacher | None,
    config: EvalConfig,
    *,
    out: Path,
    cache: Path,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[EvalProgress, None, None]:
    """Run every method on every clip, what is in `out` already left out; `out`/summary.json is whole after each job,
    `out`/report.html after the last one.

    Args:
        expert: the teacher that `config.teacher` names; None: each stream's own labels are its teacher.
        cache: folder of the teacher's labels.
        should_stop: asked after every frame; a job that is cut off begins anew next time.

    Raises:
        UsageError: `out` holds an evaluation with other settings, or something else.
        NarrowcastError: what sources, teacher or disk raise.
    """
    methods = parse_methods(",".join(config.methods))
    _sign(out, config, device)
    todo = [job for job in jobs(clips, methods, config) if job.row(out) is None]
    done = 0
    for clip in clips:
        own = [job for job in todo if job.clip == clip.name]
        bench = None
        teacher = expert or clip.truth
        if teacher is None:
            raise UsageError(f"--teacher labels: {clip.name} has no labels of its own; name a teacher")
        for step in _prepare(clip, teacher, config, out=out, cache=cache, device=device) if own else ():
            if isinstance(step, Bench):
                bench = step
            else:
                yield EvalProgress(clip.name, "labels", step.done, step.total)
            if should_stop():
                return
        if bench is not None:
            keep_samples(bench, out)
        for job in own:
            done += 1
            assert bench is not None
            frames = bench.num_frames - job.phase
            try:
                with closing(run_job(job, methods[job.method], bench, out, should_stop=should_stop)) as reports:
                    for report in reports:
                        yield EvalProgress(clip.name, job.method, report.frame + 1, frames, done, len(todo))
            except DivergedError as error:  # this method's end, not the evaluation's
                yield EvalProgress(clip.name, job.method, frames, frames, done, len(todo), failure=str(error))
                continue
            write_summary(out)
            if should_stop():
                return
            yield EvalProgress(clip.name, job.method, frames, frames, done, len(todo), job.row(out))
    if write_summary(out):
        write_evaluation_report(out)


def jobs(clips: Sequence[Clip], methods: Mapping[str, Method], config: EvalConfig) -> list[Job]:
    """All rows that `config` asks for."""
    return [
        Job(clip.name, name, seed, phase)
        for clip in clips
        for phase in config.phases
        for name, method in methods.items()
        for seed in (config.seeds if method.is_seeded else (0,))
    ]


def write_summary(out: Path) -> list[dict[str, Any]]:
    """Collect the rows of all finished jobs in `out`/summary.json, streams and methods in order of their names."""
    found = [read_row(folder) for folder in sorted(out.glob(f"{RUNS}/*/*/"))]
    rows = [row for row in found if row is not None]
    rows.sort(key=lambda row: (row["source"], row["method"], row["phase"], row["seed"]))
    write_json(out / SUMMARY, rows)
    return rows


def _prepare(
    clip: Clip, expert: Teacher, config: EvalConfig, *, out: Path, cache: Path, device: torch.device
) -> Iterator[CacheReport | Bench]:
    """The labels of `clip`, a report a frame, then the bench."""
    num_frames = 0
    for step in label(clip, expert, config.teacher, cache=cache, max_frames=config.max_frames):
        if isinstance(step, CacheReport):
            num_frames = step.done
            yield step
            continue
        yield make_bench(
            clip,
            expert,
            step,
            classes=config.classes,
            size=config.size,
            max_frames=config.max_frames,
            num_frames=num_frames,
            device=device,
            charged_ms=charge_of(clip, expert, out / TEACHER_TIMES) if config.replays_teacher else None,
        )


def _sign(out: Path, config: EvalConfig, device: torch.device) -> None:
    """Write what the folder's results are of, or refuse to mix them with others."""
    setup = to_dict(config)
    for name in ("methods", "seeds", "phases"):
        del setup[name]
    path = out / SETUP
    if path.exists():
        before = read_object(path)
        if before is None or not isinstance(before.get("setup"), dict):
            raise StorageError(f"{path}: damaged, so nothing can be added; choose another --out")
        changed = difference(before["setup"], setup)
        if changed is not None:
            raise UsageError(f"{out}: holds an evaluation with {changed}; use the same settings, or another --out")
        return
    if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UsageError(f"{out}: is not empty and holds no evaluation; choose another --out")
    write_json(path, {"setup": setup, "environment": describe(device)})
