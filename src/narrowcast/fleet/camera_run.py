"""One camera of a fleet: its stream's run in a folder of its own, a step at a time, resumed where it was cut off."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import final

import torch

from narrowcast.core.config import to_dict
from narrowcast.core.errors import NarrowcastError
from narrowcast.core.files import read_object
from narrowcast.core.frames import Frame
from narrowcast.core.runs import RUN, RunFolder
from narrowcast.core.runtime import describe, pick_device
from narrowcast.fleet.budget import Purse
from narrowcast.fleet.cameras import CameraConfig, Fleet
from narrowcast.fleet.state import CAMERAS, ENDED, CameraState, Status, Watch
from narrowcast.models.classes import ClassMap, SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import student_called
from narrowcast.models.teacher import Teacher
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.live_run import run_live
from narrowcast.stream.run import STUDENT, next_frame, run_stream
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.student_zoo import Noticing, StudentZoo
from narrowcast.video.clock import DEFAULT_FPS
from narrowcast.video.patience import LIVE, SHORT
from narrowcast.video.source import FrameSource, open_source

log = logging.getLogger(__name__)


@final
class CameraRun:
    """A camera's run into `out/cameras/NAME`; it goes on from the folder's checkpoint where there is one.

    Args:
        expert: the fleet's teacher.
        zoo: earlier students; None: none.
        worker: who runs it, for the record.
    """

    def __init__(
        self, camera: CameraConfig, fleet: Fleet, out: Path, *, expert: Teacher, zoo: StudentZoo | None, worker: int
    ) -> None:
        self.camera, self.fleet, self.folder = camera, fleet, out / CAMERAS / camera.name
        self.purse = Purse()
        self.status: Status = "waiting"
        self.message, self.recalled = "", ""
        self._expert, self._zoo, self._worker = Noticing(expert), zoo, worker
        self._watch: Watch | None = None
        self._stopping = threading.Event()
        self._reports = self._play()

    def step(self) -> bool:
        """Play a frame; False when there is none any more, for whatever reason."""
        if self.status == "waiting":
            self.status = "running"
        try:
            for report in self._reports:
                assert self._watch is not None
                self._watch.add(report)
                return True
            self.status = "stopped" if self._stopping.is_set() else "finished"
        except NarrowcastError as error:
            self.status, self.message = "failed", str(error)
        except Exception as error:  # one camera's, whatever it is, must not end the others
            log.exception("camera %s failed", self.camera.name)
            self.status, self.message = "failed", f"{type(error).__name__}: {error}"
        return False

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to play; its folder is closed by then."""
        return self.status in ENDED

    def stop(self) -> None:
        """End the run after the frame at hand; its folder can be gone on with."""
        self._stopping.set()

    def state(self) -> CameraState:
        """Where it stands; may be asked by another thread."""
        values = {} if self._watch is None else self._watch.values()
        rate = None if self.purse.rate == float("inf") else self.purse.rate
        return CameraState(
            name=self.camera.name,
            status=self.status,
            rate=rate,
            refused=self.purse.num_refused,
            worker=self._worker,
            recalled=self.recalled,
            message=self.message,
            **values,
        )

    def _play(self) -> Iterator[StreamReport]:
        camera, config = self.camera, self.fleet.config
        device = pick_device(config.device)
        class_map = parse_classes(camera.classes or config.classes, self._expert.classes)
        first = next_frame(self.folder)
        wanted = self.fleet.run_config(camera, student=self._student(class_map, first))
        rest = max(0, camera.max_frames - first) if camera.max_frames else None
        student = student_called(wanted.student, class_map)
        patience = LIVE if camera.live else SHORT
        with open_source(camera.source, start_index=first, max_frames=rest, patience=patience) as source:
            wanted = replace(wanted, live=_live_config(source) if camera.live else None)
            fps = float(source.fps or DEFAULT_FPS)
            self._watch = Watch(frames=first, fps=fps, target=camera.accuracy)
            about = {
                "config": to_dict(wanted),
                "classes": list(class_map.classes),
                "environment": describe(device),
                "keys": camera.keys,
            }
            with RunFolder.open(self.folder, about, resume=True) as folder:
                yield from (run_live if camera.live else run_stream)(
                    source,
                    student,
                    SelectedTeacher(self._expert, class_map),
                    config=wanted,
                    folder=folder,
                    device=device,
                    scorer=SelectedTeacher(self._scorer(device), class_map),
                    should_stop=self._stopping.is_set,
                    may_ask=self._may_ask,
                )
        self._keep(class_map)

    def _scorer(self, device: torch.device) -> Teacher:
        if not self.camera.score_with:
            return self._expert.teacher
        return load_teacher(self.camera.score_with, device=device, num_threads=self.fleet.config.num_threads)

    def _may_ask(self, frame: Frame) -> bool:
        return self.purse.take(float(frame.time_s))

    def _student(self, class_map: ClassMap, first: int) -> str:
        """What the student begins with: as before, the zoo's most alike, or what the file says."""
        before = read_object(self.folder / RUN)
        if before is not None:
            student = str(before.get("config", {}).get("student", self.camera.student))
            self.recalled = Path(student).parent.name if student != self.camera.student else ""
            return student
        if self._zoo is None:
            return self.camera.student
        with open_source(self.camera.source, max_frames=1) as source:
            signature = self._zoo.signature([frame.image_rgb for frame in source])
        found = self._zoo.recall(signature, class_map.classes, self.camera.keys)
        if found is None:
            return self.camera.student
        self.recalled = found.entry.name
        return str(found.path)

    def _keep(self, class_map: ClassMap) -> None:
        """Leave the student in the zoo, with what it saw last."""
        if self._zoo is None or not self._expert.images or self._watch is None:
            return
        signature = self._zoo.signature(self._expert.images)
        accuracy = self._watch.values()["accuracy"]
        name = self.camera.name
        self._zoo.add(name, self.folder / STUDENT, signature, class_map.classes, self.camera.keys, accuracy=accuracy)


def _live_config(source: FrameSource) -> LiveConfig:
    """A camera is labelled as it is now; a video plays at its own rate. Others need the teachers too."""
    return LiveConfig(when_late="drop-oldest", asks="due", is_paced=not source.is_live)
