"""A student that has learned, on a video: it only infers. Nothing is asked, nothing is learned."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from narrowcast.core.errors import NarrowcastError, StorageError
from narrowcast.core.files import read_object
from narrowcast.core.frames import Frame
from narrowcast.core.runs import RUN, RunFolder
from narrowcast.models.student import AnyStudent, load_student
from narrowcast.stream.baselines import frozen
from narrowcast.stream.outputs import make_outputs
from narrowcast.stream.run import DEFAULT_FPS, STUDENT
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.prefetch import prefetch
from narrowcast.video.source import FrameSource


@dataclass(frozen=True, slots=True)
class Adapted:
    """A student with what it takes to use it.

    Attributes:
        path: of its file.
        size_wh: that it worked at in the run which left it; None where that is not known, or was the frames' own.
        always_learned: False where the run which left it heard and taught it only where that paid (`stream.worth`).
    """

    net: AnyStudent
    classes: tuple[str, ...]
    path: Path
    size_wh: tuple[int, int] | None
    always_learned: bool = True


def load_adapted(path: Path) -> Adapted:
    """The student in a file, or the one that a run left in its folder.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    file = path / STUDENT if path.is_dir() else path
    net, classes, _ = load_student(file)
    config = (read_object(file.parent / RUN) or {}).get("config", {})
    config = config if isinstance(config, dict) else {}
    size, distill = config.get("size_wh"), config.get("distill")
    always = not (isinstance(distill, dict) and distill.get("trial"))
    return Adapted(net, classes, file, (int(size[0]), int(size[1])) if size else None, always)


def apply(
    adapted: Adapted,
    source: FrameSource,
    *,
    folder: RunFolder,
    kinds: tuple[str, ...],
    size_wh: tuple[int, int] | None,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[StreamReport, None, None]:
    """Label every frame of `source` into `folder`: outputs, `reports.jsonl` and `summary.json`; a report a frame.

    Args:
        kinds: of outputs (`stream.outputs`).
        size_wh: to work at; None: the size of the run that left the student, or else the frames'.

    Raises:
        NarrowcastError: what the source or the disk raise.
    """
    size_wh = size_wh or adapted.size_wh or source.size_wh
    done = _Done(folder, source)
    seen: list[Frame] = []

    def remembered(frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            seen[:] = [frame]
            yield frame

    outputs = make_outputs(kinds, folder.path, adapted.classes, fps=source.fps or DEFAULT_FPS)
    with outputs, prefetch(source, should_stop=should_stop) as frames:
        try:
            for report in frozen(remembered(frames), adapted.net, size_wh=size_wh, device=device):
                outputs.write(seen[0], report)
                done.add(report)
                yield report
                if should_stop():
                    break
        except NarrowcastError as error:
            if not isinstance(error, StorageError):
                outputs.finish()
                done.write("failed")
            raise
        finally:
            source.stop()
        outputs.finish()
    done.write("interrupted" if should_stop() else "finished")


@final
class _Done:
    """What a run has come to."""

    def __init__(self, folder: RunFolder, source: FrameSource) -> None:
        self._folder, self._source = folder, source
        self._frames, self._student_ms = 0, 0.0

    def add(self, report: StreamReport) -> None:
        """Write one frame down."""
        timings_ms = {"student": round(report.timings_ms["student"], 3)}
        self._folder.append({"frame": report.frame, "time_s": round(report.time_s, 6), "timings_ms": timings_ms})
        self._frames += 1
        self._student_ms += report.timings_ms["student"]

    def write(self, status: str) -> None:
        """The end."""
        self._folder.write_summary(
            {
                "status": status,
                "source_truncated": self._source.truncated,
                "source_damaged": self._source.damaged,
                "frames": self._frames,
                "student_ms_mean": self._student_ms / self._frames if self._frames else None,
            }
        )
