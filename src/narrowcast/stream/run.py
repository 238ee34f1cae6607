"""A stream from its first frame to its folder: distillation, scores, outputs, checkpoints, resume."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import torch

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, DivergedError, NarrowcastError, StorageError
from narrowcast.core.frames import Frame
from narrowcast.core.runs import RunFolder
from narrowcast.core.runtime import seed_everything
from narrowcast.models.student import AnyStudent, save_student
from narrowcast.models.teacher import Teacher
from narrowcast.stream.distill import DEFAULT, DistillConfig, Distiller, score_labels
from narrowcast.stream.event_log import EventLog
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.outputs import Output, Outputs, check_kinds, make_outputs
from narrowcast.stream.recall import RecallConfig, make_recall
from narrowcast.stream.recall_log import leave_students, tell_of_visit
from narrowcast.stream.report import write_report
from narrowcast.stream.scores import SegmentationScores
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.summary import Costs, summarise
from narrowcast.video.prefetch import prefetch
from narrowcast.video.source import FrameSource

CHECKPOINT, STUDENT = "checkpoint.safetensors", "student.safetensors"
DEFAULT_FPS = Fraction(25)
MIN_SIDE, MAX_SIDE = 32, 8192  # pixels of the working size; ours


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """All that decides what a run does; it is written to `run.json`, and a resumed run must have the same.

    Attributes:
        source, teacher, classes, student: as given, for the record.
        distill: the algorithm.
        size_wh: the student's working size, or None for the frames' own.
        score_every: score every N-th frame against the scoring teacher, outside the cost; 0 scores teacher frames only.
        outputs: kinds of `stream.outputs`.
        checkpoint_every: frames between checkpoints; a kill loses no more than these.
        teacher_settings, score_with: as given, for the record.
        live: how a live stream is run; None: frame by frame, each waiting for all that is done with the one before.
        recall: which students of earlier places are recalled; None: none.
    """

    source: str
    teacher: str
    classes: str = "all"
    student: str = "pretrained"
    distill: DistillConfig = field(default_factory=lambda: DEFAULT)
    size_wh: tuple[int, int] | None = None
    score_every: int = 0
    outputs: tuple[str, ...] = ("overlay",)
    checkpoint_every: int = 250
    seed: int = 0
    teacher_settings: Mapping[str, Any] = field(default_factory=dict)
    score_with: str | None = None
    live: LiveConfig | None = None
    recall: RecallConfig | None = None

    def __post_init__(self) -> None:
        if self.size_wh is not None and not MIN_SIDE <= min(self.size_wh) <= max(self.size_wh) <= MAX_SIDE:
            size = f"{self.size_wh[0]}x{self.size_wh[1]}"
            raise ConfigError(f"--size {size}: both sides must have {MIN_SIDE} to {MAX_SIDE} pixels")
        if self.score_every < 0:
            raise ConfigError(f"--score-every {self.score_every}: must not be negative (0: teacher frames only)")
        if self.checkpoint_every < 1:
            raise ConfigError(f"[run]: checkpoint_every = {self.checkpoint_every}: must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed {self.seed}: expected 0 to {2**32 - 1}")
        if self.live is not None and self.distill.look_ahead:
            raise ConfigError(
                "--live: labels of a live stream cannot wait for the teacher; leave --method look-ahead out"
            )
        check_kinds(self.outputs)


def next_frame(folder: Path) -> int:
    """The frame that a run in `folder` goes on with; 0 where there is no checkpoint."""
    path = folder / CHECKPOINT
    return checkpoint.load(path)[1]["next_frame"] if path.exists() else 0


def run_stream(
    source: FrameSource,
    student: AnyStudent,
    teacher: Teacher,
    *,
    config: RunConfig,
    folder: RunFolder,
    device: torch.device,
    scorer: Teacher | None = None,
    watchers: Sequence[Output] = (),
    should_stop: Callable[[], bool] = lambda: False,
    may_ask: Callable[[Frame], bool] = lambda _: True,
) -> Iterator[StreamReport]:
    """Run a stream into `folder`, a report a frame; where the folder has a checkpoint, from there on.

    Args:
        source: must begin at `next_frame(folder.path)`.
        student: over the teacher's classes; changed in place.
        scorer: labels the frames that `score_every` asks for; the teacher itself unless given.
        watchers: hear of every frame, as outputs do.
        should_stop: asked after every frame, and while waiting for one; when it says yes the run ends as it would at
            the end of the source.
        may_ask: asked of a frame on which the teacher is due; where it says no, the next frame asks again.

    Raises:
        NarrowcastError: what the source, the teacher or the disk raises. Where source or teacher failed, all frames
            before are kept and summed up first; otherwise the last checkpoint stays good.
    """
    seed_everything(config.seed)
    distiller = make_distiller(student, teacher, config=config, folder=folder, device=device, may_ask=may_ask)
    run = _Run(distiller, SegmentationScores(teacher.classes), Costs(), folder)
    first = run.resume()
    outputs = make_outputs(config.outputs, folder.path, teacher.classes, fps=source.fps or DEFAULT_FPS)
    outputs.add(*watchers)
    folder.keep_reports(before_frame=first)
    _check_reports(folder, first)
    with outputs, prefetch(source, should_stop=should_stop) as frames:
        try:
            head = list(itertools.islice(frames, 1))
            if not head and folder.is_finished(num_frames=first):
                return  # it stays as it is
            outputs.rewind(first)
            for frame in itertools.chain(head, frames):
                for done in run.take(frame):
                    yield run.write(*done, config, scorer or teacher, outputs)
                if run.is_checkpoint_due(config.checkpoint_every):
                    outputs.checkpoint()
                    run.save()
                if should_stop():
                    break
            for done in distiller.rest():
                yield run.write(*done, config, scorer or teacher, outputs)
        except NarrowcastError as error:
            is_more = run.next_frame + distiller.num_waiting > first
            if run.is_whole and is_more and not isinstance(error, (StorageError, DivergedError)):
                with suppress(StorageError):  # the first error is the one to show
                    for done in distiller.rest():
                        run.write(*done, config, scorer or teacher, outputs)
                    run.finish(source, outputs, status="failed")
            raise
        finally:
            source.stop()  # a camera that sends nothing is not waited for
        run.finish(source, outputs, status="interrupted" if should_stop() else "finished")


def make_distiller(
    student: AnyStudent,
    teacher: Teacher,
    *,
    config: RunConfig,
    folder: RunFolder,
    device: torch.device,
    may_ask: Callable[[Frame], bool],
) -> Distiller:
    """What a run distils with, before it goes on from a checkpoint.

    Raises:
        UsageError: what `config.recall` names is no zoo.
    """
    recall = config.recall and make_recall(config.recall, teacher.classes, run=folder.path, device=device)
    where = {"size_wh": config.size_wh, "device": device}
    return Distiller(student, teacher, config.distill, may_ask=may_ask, recall=recall, **where)


def _check_reports(folder: RunFolder, first: int) -> None:
    """Raises StorageError where the reports do not reach the frame to go on with: the summary is made from them."""
    num_reports = sum(1 for _ in folder.reports())
    if num_reports != first:
        raise StorageError(
            f"{folder.path}: has reports of {num_reports} frames and a checkpoint after {first}, so the run cannot go"
            " on; choose another --out"
        )


@final
class _Run:
    """What a checkpoint must hold, and how a frame moves it on."""

    def __init__(self, distiller: Distiller, scores: SegmentationScores, costs: Costs, folder: RunFolder) -> None:
        self.distiller, self.scores, self.costs, self.folder = distiller, scores, costs, folder
        self.events = EventLog(folder.path)
        self.next_frame = 0
        self._saved_frame = 0  # the next frame of the last checkpoint
        self.is_whole = True  # no frame is half done: what `finish` writes is true
        self._clock = time.perf_counter()

    def take(self, frame: Frame) -> list[tuple[Frame, StreamReport]]:
        """Distil one frame; the frames that are done by it."""
        expected = self.next_frame + self.distiller.num_waiting
        assert frame.index == expected, "the source must begin where the run goes on"
        return self.distiller.take(frame)

    def write(
        self, frame: Frame, report: StreamReport, config: RunConfig, scorer: Teacher, outputs: Outputs
    ) -> StreamReport:
        """Score a frame that is done, and write it down."""
        self.is_whole = False
        line = report.to_json()
        labels = self._labels_to_score(frame, report, config.score_every, scorer)
        if labels is not None:
            line["miou"] = round(self.scores.add(report, labels), 6)
        outputs.write(frame, report)
        tell_of_visit(self.events, frame, report.visit)
        self.folder.append(line)
        self.next_frame, self.is_whole = frame.index + 1, True
        return report

    def is_checkpoint_due(self, every: int) -> bool:
        """Whether a multiple of `every` frames has been passed since the last checkpoint, and no frame waits."""
        return self.next_frame // every > self._saved_frame // every and not self.distiller.num_waiting

    def _labels_to_score(self, frame: Frame, report: StreamReport, score_every: int, scorer: Teacher) -> Any:
        """Labels for this frame, if it is to be scored; what asking for them takes is not counted as cost."""
        if not score_every:
            return report.teacher_labels
        if frame.index % score_every:
            return None
        if report.teacher_labels is not None and scorer is self.distiller.teacher:
            return report.teacher_labels
        started = time.perf_counter()
        labels = score_labels(report, scorer(frame.image_rgb, frame_index=frame.index).labels)
        self._clock += time.perf_counter() - started
        return labels

    def save(self) -> None:
        """Write the checkpoint; from here on nothing before it can be lost."""
        self.folder.flush()
        self._count_time()
        tensors, values = self.distiller.state()
        meta = {
            "next_frame": self.next_frame,
            "distiller": values,
            "scores": self.scores.to_json(),
            "total_s": self.costs.total_s,
        }
        checkpoint.save(self.folder.path / CHECKPOINT, tensors, meta=meta)
        self._saved_frame = self.next_frame

    def resume(self) -> int:
        """Continue from the folder's checkpoint; the frame to go on with."""
        path = self.folder.path / CHECKPOINT
        if path.exists():
            tensors, meta = checkpoint.load(path)
            self.distiller.load_state(tensors, meta["distiller"], source=str(path))
            self.scores.load(meta["scores"])
            self.costs.total_s, self.next_frame = meta["total_s"], meta["next_frame"]
            self._saved_frame = self.next_frame
        self.events.rewind(self.next_frame)
        self._clock = time.perf_counter()
        return self.next_frame

    def finish(self, source: FrameSource, outputs: Outputs, *, status: str) -> None:
        """The end of a run: checkpoint, video, student, summary, report."""
        outputs.checkpoint()
        self.save()
        outputs.finish()
        self._count_time()
        net, classes = self.distiller.learner.net, self.distiller.teacher.classes
        save_student(self.folder.path / STUDENT, net, classes, meta={"frames": self.next_frame})  # type: ignore[arg-type]
        leave_students(self.distiller)
        summary = summarise(self.folder, self.scores, self.costs, self.distiller)
        ending = {
            "status": status,
            "source_truncated": source.truncated,
            "source_damaged": source.damaged,
        }
        self.folder.write_summary(ending | summary)
        write_report(self.folder.path)

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.costs.total_s += now - self._clock
        self._clock = now
