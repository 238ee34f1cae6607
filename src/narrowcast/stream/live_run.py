"""A live stream from its first frame to its folder: as `stream.run`, with nothing in the way of the frames."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, final

import torch

from narrowcast.core import checkpoint
from narrowcast.core.errors import DivergedError, NarrowcastError, StorageError
from narrowcast.core.frames import Frame
from narrowcast.core.runs import RunFolder
from narrowcast.core.runtime import seed_everything
from narrowcast.models.student import AnyStudent, save_student
from narrowcast.models.teacher import Teacher
from narrowcast.stream.distill import Distiller, score_labels
from narrowcast.stream.event_log import EventLog
from narrowcast.stream.live import LiveDistiller, LiveStep, shares_of
from narrowcast.stream.live_summary import LiveTotals, summarise_live
from narrowcast.stream.outputs import Output, Outputs, make_outputs
from narrowcast.stream.recall_log import leave_students, tell_of_visit
from narrowcast.stream.report import write_report
from narrowcast.stream.retention import Retention
from narrowcast.stream.run import CHECKPOINT, DEFAULT_FPS, STUDENT, RunConfig, make_distiller
from narrowcast.stream.scores import SegmentationScores
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.summary import Costs
from narrowcast.stream.trainer import Trainer
from narrowcast.video.mailbox import Arrival, Mailbox
from narrowcast.video.pace import paced
from narrowcast.video.source import FrameSource


def run_live(
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
    """Run a live stream into `folder`, a report a frame; where the folder has a checkpoint, from there on.

    Args:
        source: must begin at `next_frame(folder.path)`.
        student: over the teacher's classes; changed in place.
        teacher: called in a thread of its own.
        scorer: labels the frames that `score_every` asks for, between two frames: a folder of labels.
        watchers: hear of every frame, as outputs do.
        should_stop, may_ask: as for `run_stream`.

    Raises:
        NarrowcastError: as `run_stream`.
    """
    assert config.live is not None
    seed_everything(config.seed)
    distiller = make_distiller(student, teacher, config=config, folder=folder, device=device, may_ask=may_ask)
    run = _LiveRun(distiller, folder, config, scorer)
    first = run.resume()
    outputs = make_outputs(config.outputs, folder.path, teacher.classes, fps=source.fps or DEFAULT_FPS)
    outputs.add(*watchers)
    retention = Retention(folder, outputs, 60 * config.live.keep_min)
    stopping = threading.Event()
    frames = paced(source, stopping=stopping) if config.live.is_paced else source
    with (
        outputs,
        _half_of_the_threads() as learning,
        Trainer(distiller, budget=config.live.budget, num_threads=learning) as trainer,
        Mailbox(frames, when_late=config.live.when_late, should_stop=should_stop) as arrivals,
    ):
        try:
            head = list(itertools.islice(arrivals, 1))
            if not head and folder.is_finished(num_frames=run.totals.frames):
                return  # it stays as it is
            outputs.rewind(first)
            live = LiveDistiller(distiller, trainer, asks=config.live.asks)
            for arrival in itertools.chain(head, arrivals):
                yield run.step(live, arrival, outputs)
                run.totals.swaps, run.totals.dropped_frames = live.num_swaps, run.dropped_before + arrivals.num_dropped
                if run.totals.frames % config.checkpoint_every == 0:
                    trainer.do(run.saving(outputs.cut(), retention))
                if should_stop():
                    break
            trainer.wait()
            trainer.news()  # what has failed since the last frame is said here
        except NarrowcastError as error:
            if run.totals.frames and not isinstance(error, (StorageError, DivergedError)):
                with suppress(StorageError):  # the first error is the one to show
                    trainer.wait()
                    run.finish(source, outputs, status="failed")
            raise
        finally:
            stopping.set()
            source.stop()  # a camera that sends nothing is not waited for
        run.finish(source, outputs, status="interrupted" if should_stop() else "finished")


@contextmanager
def _half_of_the_threads() -> Iterator[int]:
    """Predict with a part of torch's threads while the block runs; the number of the others."""
    before = torch.get_num_threads()
    predicting, learning = shares_of(before)
    torch.set_num_threads(predicting)
    try:
        yield learning
    finally:
        torch.set_num_threads(before)


@final
class _LiveRun:
    """What a checkpoint must hold, and how a frame moves it on."""

    def __init__(self, distiller: Distiller, folder: RunFolder, config: RunConfig, scorer: Teacher | None) -> None:
        self.distiller, self.folder, self.config, self.scorer = distiller, folder, config, scorer
        self.scores = SegmentationScores(distiller.teacher.classes)
        self.totals = LiveTotals()
        self.events = EventLog(folder.path)
        self.next_frame = self.dropped_before = 0
        self._last_arrived_s: float | None = None
        self._last_time_s = 0.0
        self._total_s, self._began_s = 0.0, time.perf_counter()

    def step(self, live: LiveDistiller, arrival: Arrival, outputs: Outputs) -> StreamReport:
        """Label one frame; then, with the labels out, score and write down."""
        step = live.step(arrival.frame, arrived_s=arrival.arrived_s)
        report, frame = step.report, arrival.frame
        assert report.live is not None
        if report.live.is_after_gap:
            self.totals.gaps += 1
            self._tell_of_gap(arrival)
        self._last_arrived_s, self._last_time_s = arrival.arrived_s, report.time_s
        line = report.to_json() | self._score(arrival, step)
        outputs.write(frame, report)
        tell_of_visit(self.events, frame, report.visit)
        if step.taught is not None:
            outputs.taught(*step.taught)
        self.folder.append(line)
        self.totals.add(report)
        self.next_frame = frame.index + 1
        return report

    def _tell_of_gap(self, arrival: Arrival) -> None:
        away_s = 0.0 if self._last_arrived_s is None else arrival.arrived_s - self._last_arrived_s
        height, width = arrival.frame.image_rgb.shape[:2]
        self.events.add(arrival.frame, "gap", away_s=round(away_s, 3), size_wh=[width, height])

    def _score(self, arrival: Arrival, step: LiveStep) -> dict[str, float]:
        """What the line of the frame says of its score, if it has one."""
        if not self.config.score_every or self.scorer is None:
            if step.taught is not None:
                self.scores.add(step.taught[1], step.taught[1].teacher_labels)
            return {}
        frame, report = arrival.frame, step.report
        if frame.index % self.config.score_every:
            return {}
        labels = score_labels(report, self.scorer(frame.image_rgb, frame_index=frame.index).labels)
        return {"miou": round(self.scores.add(report, labels), 6)}

    def saving(self, make_safe: Callable[[], None], retention: Retention) -> Callable[[], None]:
        """A job for the thread beside the stream: the checkpoint of this moment, and room for what comes."""
        meta, now_s = self._meta(), self._last_time_s

        def save() -> None:
            make_safe()
            self._save(meta)
            retention.apply(now_s)

        return save

    def _meta(self) -> dict[str, Any]:
        return {
            "next_frame": self.next_frame,
            "scores": self.scores.to_json(),
            "total_s": self._now_s(),
            "totals": self.totals.to_json(),
        }

    def _save(self, meta: dict[str, Any]) -> None:
        """What was learned may be newer than the frames: no harm where time decides anyway."""
        self.folder.flush()
        tensors, values = self.distiller.state()
        checkpoint.save(self.folder.path / CHECKPOINT, tensors, meta=meta | {"distiller": values})

    def resume(self) -> int:
        """Continue from the folder's checkpoint; the frame to go on with."""
        path = self.folder.path / CHECKPOINT
        if path.exists():
            tensors, meta = checkpoint.load(path)
            self.distiller.load_state(tensors, meta["distiller"], source=str(path))
            self.scores.load(meta["scores"])
            self.totals = LiveTotals(**meta["totals"])
            self._total_s, self.next_frame = meta["total_s"], meta["next_frame"]
        self.dropped_before = self.totals.dropped_frames
        self.folder.keep_reports(before_frame=self.next_frame)
        self.events.rewind(self.next_frame)
        self._check_reports()
        self._began_s = time.perf_counter()
        return self.next_frame

    def _check_reports(self) -> None:
        last = -1
        for report in self.folder.reports():
            last = report["frame"]
        if last + 1 != self.next_frame:
            raise StorageError(
                f"{self.folder.path}: has reports up to frame {last} and a checkpoint before frame {self.next_frame},"
                " so the run cannot go on; choose another --out"
            )

    def finish(self, source: FrameSource, outputs: Outputs, *, status: str) -> None:
        """The end of a run: checkpoint, video, student, summary, report."""
        outputs.checkpoint()
        self._save(self._meta())
        outputs.finish()
        net, classes = self.distiller.learner.net, self.distiller.teacher.classes
        save_student(self.folder.path / STUDENT, net, classes, meta={"frames": self.next_frame})  # type: ignore[arg-type]
        ending = {
            "status": status,
            "source_truncated": source.truncated,
            "source_damaged": source.damaged,
        }
        leave_students(self.distiller)
        summary = summarise_live(self.folder, self.scores, Costs(self._now_s()), self.distiller, self.totals)
        self.folder.write_summary(ending | summary)
        write_report(self.folder.path)

    def _now_s(self) -> float:
        """Seconds that the run has taken, all its sessions together."""
        return self._total_s + time.perf_counter() - self._began_s
