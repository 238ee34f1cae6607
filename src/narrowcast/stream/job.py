"""One method on one stream: run, scored, and left in a folder of its own."""

import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from narrowcast.core.errors import DivergedError, UsageError
from narrowcast.core.files import read_object, write_json
from narrowcast.core.frames import Frame
from narrowcast.core.runs import SUMMARY, RunFolder
from narrowcast.core.runtime import describe, seed_everything
from narrowcast.metrics import cost
from narrowcast.stream.bench import Bench, time_teacher
from narrowcast.stream.clips import Frames
from narrowcast.stream.distill import score_labels
from narrowcast.stream.methods import Method
from narrowcast.stream.setting import Setting, Started
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.summary import teacher_macs
from narrowcast.stream.tally import Tally
from narrowcast.stream.truth import TruthTally
from narrowcast.video.labels import write_label_png
from narrowcast.video.prefetch import prefetch

RUNS, SAMPLES, FAILURE = "runs", "samples", "failure.json"
NUM_SAMPLES = 4  # frames of each stream that the report shows; ours


@dataclass(frozen=True, slots=True)
class Job:
    """One row of an evaluation.

    Attributes:
        clip, method: names.
        seed: of everything random.
        phase: frames that are left out at the start.
    """

    clip: str
    method: str
    seed: int = 0
    phase: int = 0

    def folder(self, out: Path) -> Path:
        """Where the job's run lies in the folder of its evaluation."""
        safe = "".join(letter if letter.isalnum() or letter in "-._=@" else "_" for letter in self.method)
        return out / RUNS / self.clip / f"{safe}-seed{self.seed}-phase{self.phase}"

    def row(self, out: Path) -> dict[str, Any] | None:
        """The result of a job that has been run; None of one that has not, or was cut off."""
        return read_row(self.folder(out))


def read_row(folder: Path) -> dict[str, Any] | None:
    """The result in a job's folder; None where the job has not ended."""
    row = read_object(folder / SUMMARY)
    return None if row is None else {name: value for name, value in row.items() if name != "status"}


def run_job(
    job: Job, method: Method, bench: Bench, out: Path, *, should_stop: Callable[[], bool] = lambda: False
) -> Generator[StreamReport, None, None]:
    """Run `method` over the stream; a report a frame. At the end `job.row(out)` is there; what was cut off leaves none.

    Raises:
        UsageError: the stream has no frame from the job's phase on.
        DivergedError: the student's loss left the finite numbers; `failure.json` says so too, and there is no row.
        NarrowcastError: what source, teacher or disk raise.
    """
    path, run = job.folder(out), _Run(job, bench)
    if path.exists():
        shutil.rmtree(path)  # of a job that was cut off
    seed_everything(job.seed)
    about = {
        "config": {
            "source": job.clip,
            "method": job.method,
            "seed": job.seed,
            "phase": job.phase,
            "size_wh": list(bench.size_wh),
        },
        "classes": list(bench.class_map.classes),
        "environment": describe(bench.device),
    }
    shown = sample_frames(bench.num_frames)
    with RunFolder.open(path, about, resume=False) as folder, run.opened() as frames:
        try:
            for report, line in run.reports(method, frames, should_stop):
                folder.append(line)
                if (index := report.frame + job.phase) in shown:
                    write_label_png(path / SAMPLES / f"{index:08}.png", report.labels)
                yield report
        except DivergedError as error:
            about_it = f"{job.method} on {job.clip} diverged at frame {run.tally.frames}: {error}"
            write_json(path / FAILURE, {"error": about_it})
            raise DivergedError(about_it) from error
        if not should_stop():
            about_it = {"source": job.clip, "method": job.method, "phase": job.phase, "seed": job.seed}
            folder.write_summary({"status": "finished"} | about_it | run.row())


def sample_frames(num_frames: int) -> list[int]:
    """Frames, counted in the source, whose outputs are kept for the report.

    >>> sample_frames(80)
    [10, 30, 50, 70]
    """
    return [(2 * ix + 1) * num_frames // (2 * NUM_SAMPLES) for ix in range(NUM_SAMPLES)]


@final
class _Run:
    """The clock and the counts of one job."""

    def __init__(self, job: Job, bench: Bench) -> None:
        self.job, self.bench = job, bench
        self.tally = Tally(bench.class_map.classes)
        truth = bench.clip.truth
        self.truth = None if truth is None else TruthTally(truth, bench.class_map)
        self.total_s = 0.0
        self.started: Started | None = None

    def opened(self) -> AbstractContextManager[Frames]:
        """The job's frames."""
        return self.bench.clip.open(phase=self.job.phase, max_frames=self.bench.max_frames)

    def reports(
        self, method: Method, source: Frames, should_stop: Callable[[], bool]
    ) -> Iterator[tuple[StreamReport, dict[str, Any]]]:
        """Every report with its line for `reports.jsonl`; the clock stands still while the caller has it."""
        scorer = self.bench.scorer(self.job.phase)
        self.started = method.start(self._setting())
        seen: deque[Frame] = deque()  # whose reports have not come yet

        def remembered(frames: Iterable[Frame]) -> Iterator[Frame]:
            for frame in frames:
                seen.append(frame)
                yield frame

        with prefetch(source, should_stop=should_stop) as frames:
            clock = time.perf_counter()
            for report in self.started.run(remembered(frames)):
                self.total_s += time.perf_counter() - clock
                frame = seen.popleft()
                assert frame.index == report.frame
                truth = score_labels(report, scorer(frame.image_rgb, frame_index=frame.index).labels)
                if self.truth is not None:
                    self.truth.add(frame.image_rgb, frame.index + self.job.phase, report, truth)
                yield report, report.to_json() | {"miou": round(self.tally.add(frame, report, truth), 6)}
                if should_stop():
                    return
                clock = time.perf_counter()
            self.total_s += time.perf_counter() - clock
        if not self.tally.frames:
            raise UsageError(f"{self.job.clip}: has no frame from frame {self.job.phase} on")

    def _setting(self) -> Setting:
        bench = self.bench
        return Setting(
            teacher=bench.teacher(self.job.phase),
            labels=bench.scorer(self.job.phase),
            class_map=bench.class_map,
            size_wh=bench.size_wh,
            device=bench.device,
            seed=self.job.seed,
            open_frames=self.opened,
        )

    def row(self) -> dict[str, Any]:
        """The numbers of `summary.json`."""
        tally, started, bench = self.tally, self.started, self.bench
        assert started is not None
        teacher_ms = bench.charged_ms or tally.median_ms("teacher")
        if teacher_ms is None:
            teacher_ms = time_teacher(bench.clip, bench.expert)
        called_s = tally.sum_s("teacher")
        teacher_s = called_s if bench.charged_ms is None else teacher_ms * tally.teacher_frames / 1e3
        upfront_s = started.upfront_s + teacher_ms * started.upfront_frames / 1e3
        total_s = self.total_s - called_s + teacher_s + upfront_s  # reading a kept label is not a cost, its call is
        teacher_s += upfront_s - started.upfront_s
        teacher_frames = tally.teacher_frames + started.upfront_frames
        learning_s, every_frame_s = tally.sum_s("learning") + started.upfront_s, teacher_ms * tally.frames / 1e3
        return {
            "frames": tally.frames,
            "teacher_frames": teacher_frames,
            "teacher_fraction": teacher_frames / tally.frames,
            "student_frames": tally.student_frames,
            "updates": tally.updates + started.upfront_updates,
            **tally.accuracy(),
            "student_ms_p50": tally.median_ms("student"),
            "update_ms_p50": tally.median_ms("update"),
            "teacher_ms_p50": teacher_ms,
            "student_s": tally.sum_s("student"),
            "teacher_s": teacher_s,
            "learning_s": learning_s,
            "upfront_s": upfront_s,
            "total_s": total_s,
            "teacher_share": teacher_s / total_s,
            "learning_share": learning_s / total_s,
            "teacher_every_frame_s": every_frame_s,
            "speedup": every_frame_s / total_s,
            "truth": None if self.truth is None else self.truth.found(),
            "teacher_is_replayed": bench.charged_ms is not None,
            **self._macs(started, teacher_frames),
        }

    def _macs(self, started: Started, teacher_frames: int) -> dict[str, float | None]:
        """Multiply-adds: of the networks, without flow; None where the teacher's are not known."""
        bench, tally = self.bench, self.tally
        updates = tally.updates + started.upfront_updates
        student = update = 0
        if started.net is not None:
            width, height = bench.size_wh
            images = torch.zeros(1, 3, height, width, device=bench.device)
            forward = started.net.coarse_logits
            student = cost.count_macs(forward, images)  # type: ignore[arg-type]
            if updates:
                update = cost.count_training_macs(started.net, images, forward=forward)  # type: ignore[arg-type]
        with bench.clip.open(max_frames=1) as source:
            teacher = teacher_macs(bench.expert, source.size_wh)
        total = tally.student_frames * student + updates * update + teacher_frames * (teacher or 0)
        return {
            "student_macs": student,
            "update_macs": update,
            "teacher_macs": teacher,
            "speedup_macs": tally.frames * teacher / total if teacher and total else None,
        }
