"""What a run writes frame by frame beside its reports: the labelled video, label files, sample pictures."""

import itertools
import json
import logging
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, final

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import StorageError, UsageError, did_you_mean
from narrowcast.core.files import write_bytes
from narrowcast.core.frames import Frame
from narrowcast.core.lines import drop_lines
from narrowcast.stream.lesson_pictures import LessonPictures
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.labels import encode_rle, write_label_png
from narrowcast.video.overlay import draw_caption, draw_legend, overlay, side_by_side
from narrowcast.video.source import open_source
from narrowcast.video.writer import VideoWriter, concat

log = logging.getLogger(__name__)

KINDS = ("overlay", "side-by-side", "png", "rle", "lessons")
MAX_SPACED, MAX_WORST, SAMPLE_WIDTH = 8, 4, 640


class Output(Protocol):
    """Something written while the stream runs, that can go on after a kill."""

    def write(self, frame: Frame, report: StreamReport) -> None: ...

    def taught(self, frame: Frame, report: StreamReport) -> None:
        """Hear of an earlier frame what its teacher said, which came late."""
        ...

    def checkpoint(self) -> None:
        """Make what was written until now safe."""
        ...

    def drop(self, before_frame: int) -> None:
        """Remove what is older, to make room; another thread may write meanwhile."""
        ...

    def rewind(self, next_frame: int) -> None:
        """Forget `next_frame` and later: they come again."""
        ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


@final
class LabelledVideo:
    """`labelled.mp4`, written in parts that each begin at a checkpoint, so that a kill loses one part at most.

    All of it has the size of the run's first frame, whatever comes later: parts of several sizes do not join.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, fps: Fraction, is_side_by_side: bool) -> None:
        self.folder, self.classes, self.fps, self.is_side_by_side = folder / "parts", classes, fps, is_side_by_side
        self.path = folder / "labelled.mp4"
        self._size_wh: tuple[int, int] | None = None
        self._writer: VideoWriter | None = None
        self._teacher_view: UInt8[np.ndarray, "h w 3"] | None = None

    def write(self, frame: Frame, report: StreamReport) -> None:
        drawn = self._draw(frame, report)
        if self._writer is None:
            self._size_wh = self._size_wh or (drawn.shape[1], drawn.shape[0])
            path = self.folder / f"part-{frame.index:08}.mp4"  # of Matroska's times only milliseconds would be left
            self._writer = VideoWriter(path, fps=self.fps, size_wh=self._size_wh).__enter__()
        self._writer.write(drawn, frame.time_s)

    def taught(self, frame: Frame, report: StreamReport) -> None:
        if self.is_side_by_side:
            self._show_teacher(frame, report)

    def checkpoint(self) -> None:
        self.cut()()

    def cut(self) -> Callable[[], None]:
        """End the part; what is returned waits until it is whole, and may be called in another thread."""
        writer, self._writer = self._writer, None
        return (lambda: None) if writer is None else writer.close

    def drop(self, before_frame: int) -> None:
        parts = self._parts()
        for part, following in itertools.pairwise(parts):
            if _first_frame(following) <= before_frame:
                part.unlink()

    def rewind(self, next_frame: int) -> None:
        for leftover in self.folder.glob(".part-*.tmp"):  # what a kill cut off
            leftover.unlink()
        for part in self._parts():
            if _first_frame(part) >= next_frame:
                part.unlink()
        if next_frame and not self._parts() and self.path.exists():  # a finished run goes on: it is the first part
            self.folder.mkdir(parents=True, exist_ok=True)
            self.path.rename(self.folder / "part-00000000.mp4")
        if parts := self._parts():
            with open_source(parts[0]) as first:
                self._size_wh = first.size_wh

    def finish(self) -> None:
        self.checkpoint()
        if parts := self._parts():
            concat(parts, self.path)
            for part in parts:
                part.unlink()
            self.folder.rmdir()

    def close(self) -> None:
        self.checkpoint()

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.mp4"), key=_first_frame)

    def _draw(self, frame: Frame, report: StreamReport) -> UInt8[np.ndarray, "h w 3"]:
        drawn = draw_legend(overlay(frame.image_rgb, report.labels), self.classes)
        if not self.is_side_by_side:
            return drawn
        self._show_teacher(frame, report)
        if self._teacher_view is None:  # a run that goes on between two teacher frames
            return side_by_side(drawn, draw_caption(frame.image_rgb, "teacher, not yet"))
        return side_by_side(drawn, self._teacher_view)

    def _show_teacher(self, frame: Frame, report: StreamReport) -> None:
        if report.teacher_labels is not None:
            view = overlay(frame.image_rgb, report.teacher_labels)
            self._teacher_view = draw_caption(view, f"teacher, frame {frame.index}")


def _first_frame(part: Path) -> int:
    return int(part.stem.removeprefix("part-"))


@final
class LabelPngs:
    """`labels/00000012.png`: indexed PNGs at the frame's own size, whose values are the labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "labels"

    def write(self, frame: Frame, report: StreamReport) -> None:
        write_label_png(self.folder / f"{frame.index:08}.png", at_frame_size(frame, report.labels))

    def taught(self, frame: Frame, report: StreamReport) -> None: ...

    def checkpoint(self) -> None: ...

    def drop(self, before_frame: int) -> None:
        for path in self.folder.glob("*.png"):
            if int(path.stem) < before_frame:
                path.unlink()

    def rewind(self, next_frame: int) -> None: ...  # they are written again under the same names

    def finish(self) -> None: ...

    def close(self) -> None: ...


@final
class RunLengths:
    """`labels.jsonl`: one line a frame with its time and COCO's uncompressed run lengths of each class."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.path, self.classes = folder / "labels.jsonl", list(classes)
        self._writing = threading.Lock()

    def write(self, frame: Frame, report: StreamReport) -> None:
        record = {
            "frame": frame.index,
            "time_s": float(frame.time_s),
            **encode_rle(at_frame_size(frame, report.labels)),
        }
        try:
            with self._writing, self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(record, separators=(",", ":")) + "\n")
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error

    def taught(self, frame: Frame, report: StreamReport) -> None: ...

    def checkpoint(self) -> None: ...

    def drop(self, before_frame: int) -> None:
        drop_lines(self.path, before_frame=before_frame, lock=self._writing)

    def rewind(self, next_frame: int) -> None:
        if not self.path.exists():
            return
        kept = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") or json.loads(line)["frame"] >= next_frame:
                    break
                kept += len(line)
        with self.path.open("r+b") as file:
            file.truncate(kept)

    def finish(self) -> None: ...

    def close(self) -> None: ...


@final
class SamplePictures:
    """`samples/frame-00000012.jpg`: student left, teacher right, of a few teacher frames.

    Those at even distances, whose number is bounded by doubling the distance, and the ones where the student did worst.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "samples"
        self._every, self._seen = 1, 0
        self._spaced: list[int] = []
        self._worst: list[tuple[float, int]] = []

    def write(self, frame: Frame, report: StreamReport) -> None:
        if report.teacher_labels is None:
            return
        is_spaced = self._seen % self._every == 0
        self._seen += 1
        is_bad = report.accuracy is not None and (len(self._worst) < MAX_WORST or report.accuracy < max(self._worst)[0])
        if not (is_spaced or is_bad):
            return
        self._save(frame, report)
        if is_spaced:
            self._spaced.append(frame.index)
        if is_bad and report.accuracy is not None:
            self._worst = sorted([*self._worst, (report.accuracy, frame.index)])[:MAX_WORST]
        if len(self._spaced) > MAX_SPACED:
            self._spaced, self._every = self._spaced[::2], self._every * 2
        self._drop_others()

    def taught(self, frame: Frame, report: StreamReport) -> None:
        self.write(frame, report)

    def _save(self, frame: Frame, report: StreamReport) -> None:
        assert report.teacher_labels is not None
        height, width = frame.image_rgb.shape[:2]
        small_wh = (min(width, SAMPLE_WIDTH), max(1, round(height * min(1.0, SAMPLE_WIDTH / width))))
        image = cv2.resize(frame.image_rgb, small_wh, interpolation=cv2.INTER_AREA)
        pair = side_by_side(overlay(image, report.prediction), overlay(image, report.teacher_labels))
        encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(pair, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        assert encoded
        write_bytes(self._path(frame.index), jpeg.tobytes())

    def _drop_others(self) -> None:
        kept = {self._path(index) for index in [*self._spaced, *(index for _, index in self._worst)]}
        for path in self.folder.glob("frame-*.jpg"):
            if path not in kept:
                path.unlink()

    def _path(self, index: int) -> Path:
        return self.folder / f"frame-{index:08}.jpg"

    def checkpoint(self) -> None: ...

    def drop(self, before_frame: int) -> None: ...  # there are a few, from the whole run

    def rewind(self, next_frame: int) -> None:
        """What is on disk counts as evenly spaced; the distance begins anew."""
        for path in self.folder.glob("frame-*.jpg"):
            index = int(path.stem.removeprefix("frame-"))
            if index >= next_frame:
                path.unlink()
            else:
                self._spaced.append(index)
        self._spaced = sorted(self._spaced)[-MAX_SPACED:]

    def finish(self) -> None: ...

    def close(self) -> None: ...


@final
class Outputs:
    """All outputs of a run, closed on the error path too."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = list(outputs)

    def add(self, *outputs: Output) -> None:
        """Write to these as well."""
        self._outputs += outputs

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = []
        for output in self._outputs:
            try:
                output.close()
            except StorageError as failure:
                failures.append(failure)
        if failures and error is None:
            raise failures[0]
        for failure in failures:
            log.warning("%s", failure)  # the error on its way out is the one to show

    def write(self, frame: Frame, report: StreamReport) -> None:
        for output in self._outputs:
            output.write(frame, report)

    def taught(self, frame: Frame, report: StreamReport) -> None:
        for output in self._outputs:
            output.taught(frame, report)

    def checkpoint(self) -> None:
        for output in self._outputs:
            output.checkpoint()

    def drop(self, *, before_frame: int) -> None:
        for output in self._outputs:
            output.drop(before_frame)

    def cut(self) -> Callable[[], None]:
        """As `checkpoint`, but what takes time is left to the function returned, which another thread may call."""
        safe = [output.cut() if isinstance(output, LabelledVideo) else output.checkpoint for output in self._outputs]

        def make_safe() -> None:
            for make_one_safe in safe:
                make_one_safe()

        return make_safe

    def rewind(self, next_frame: int) -> None:
        for output in self._outputs:
            output.rewind(next_frame)

    def finish(self) -> None:
        for output in self._outputs:
            output.finish()


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse what `make_outputs` cannot make.

    Raises:
        UsageError: an unknown kind, one that is named twice, or two kinds of video.
    """
    for kind in kinds:
        if kind == "none":
            raise UsageError("--output none: writes nothing, so it stands alone; remove it or the others")
        if kind not in KINDS:
            raise UsageError(f"--output {kind}: expected {', '.join(KINDS)} or none{did_you_mean(kind, KINDS)}")
        if kinds.count(kind) > 1:
            raise UsageError(f"--output {kind}: is given twice; once is enough")
    if {"overlay", "side-by-side"} <= set(kinds):
        raise UsageError("--output: overlay and side-by-side are both labelled.mp4; choose one")


def make_outputs(kinds: Sequence[str], folder: Path, classes: Sequence[str], *, fps: Fraction) -> Outputs:
    """The outputs called `kinds`, and the sample pictures that every report shows."""
    outputs: list[Output] = [SamplePictures(folder)]
    for kind in kinds:
        if kind == "png":
            outputs.append(LabelPngs(folder))
        elif kind == "lessons":
            outputs.append(LessonPictures(folder))
        elif kind == "rle":
            outputs.append(RunLengths(folder, classes))
        else:
            outputs.append(LabelledVideo(folder, classes, fps=fps, is_side_by_side=kind == "side-by-side"))
    return Outputs(outputs)


def at_frame_size(frame: Frame, labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "H W"]:
    """`labels` at the size of `frame`."""
    height, width = frame.image_rgb.shape[:2]
    if labels.shape == (height, width):
        return labels
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
