"""`lessons/`: each frame that was taught, with what the student had said of it and what the teacher said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import SourceError
from narrowcast.core.files import write_bytes
from narrowcast.core.frames import Frame
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.labels import read_label_png, write_label_png

FOLDER, QUALITY = "lessons", 92


@dataclass(frozen=True, slots=True)
class LessonPicture:
    """A taught frame, at the student's size."""

    frame: int
    image_rgb: UInt8[np.ndarray, "h w 3"]
    student: UInt8[np.ndarray, "h w"]
    teacher: UInt8[np.ndarray, "h w"]


@final
class LessonPictures:
    """Writes them while the stream runs: `00000012.jpg`, `00000012-student.png`, `00000012-teacher.png`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def write(self, frame: Frame, report: StreamReport) -> None:
        if report.teacher_labels is None:
            return
        height, width = report.prediction.shape
        image = cv2.resize(frame.image_rgb, (width, height), interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        write_label_png(self.folder / f"{frame.index:08}-student.png", report.prediction)
        write_label_png(self.folder / f"{frame.index:08}-teacher.png", report.teacher_labels)
        write_bytes(self.folder / f"{frame.index:08}.jpg", jpeg.tobytes())  # last: where it is, the others are

    def taught(self, frame: Frame, report: StreamReport) -> None:
        self.write(frame, report)

    def checkpoint(self) -> None: ...

    def drop(self, before_frame: int) -> None:
        self._remove(lambda index: index < before_frame)

    def rewind(self, next_frame: int) -> None:
        self._remove(lambda index: index >= next_frame)

    def finish(self) -> None: ...

    def close(self) -> None: ...

    def _remove(self, is_out: Callable[[int], bool]) -> None:
        for path in sorted(self.folder.glob("*.*")):
            if is_out(int(path.stem[:8])):
                path.unlink()


def read_lessons(run: Path) -> Iterator[LessonPicture]:
    """The taught frames of a run folder, in order.

    Raises:
        SourceError: there are none.
    """
    paths = sorted((run / FOLDER).glob("*.jpg"), key=lambda path: int(path.stem))
    if not paths:
        raise SourceError(f"{run}: has no {FOLDER}/; run the stream with --output {FOLDER}")
    for path in paths:
        image_bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image_bgr is None:
            raise SourceError(f"{path}: cannot be read")
        student, teacher = (read_label_png(path.with_name(f"{path.stem}-{who}.png")) for who in ("student", "teacher"))
        yield LessonPicture(int(path.stem), cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), student, teacher)
