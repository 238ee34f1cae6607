"""What is known of each camera while a fleet runs, and the files that say so: `fleet.json` and `events.jsonl`."""

import json
import statistics
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ConfigError, StorageError, UsageError
from narrowcast.core.files import write_json
from narrowcast.fleet.budget import Need
from narrowcast.stream.stream_report import StreamReport

STATE, EVENTS, CAMERAS = "fleet.json", "events.jsonl", "cameras"
RECENT = 8  # teacher frames in a mean; ours
Status = Literal["waiting", "running", "finished", "failed", "stopped"]
ENDED = ("finished", "failed", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState:
    """Where one camera stands.

    Attributes:
        frames: of its run so far; `time_s` is the last one's.
        accuracy: mean over its last teacher frames, `fall` how much less than on the ones before.
        wants_per_s: teacher calls that its stride asks for, per second of video; `rate` what it is given.
        refused: frames on which the teacher was due and could not be paid for.
        frames_per_s: by the clock, since the camera was begun here.
        begun_at: the frame with which it went on here.
        worker: who runs it; `recalled` the student of the zoo that it began with.
        message: why it failed.
    """

    name: str
    status: Status = "waiting"
    frames: int = 0
    time_s: float = 0.0
    stride: int = 0
    accuracy: float | None = None
    fall: float = 0.0
    target: float = 0.0
    wants_per_s: float = 0.0
    rate: float | None = None
    calls: int = 0
    refused: int = 0
    updates: int = 0
    frames_per_s: float = 0.0
    begun_at: int = 0
    worker: int = 0
    recalled: str = ""
    message: str = ""

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    def need(self) -> Need:
        """What it has to say when calls are divided."""
        return Need(wants_per_s=self.wants_per_s, target=self.target, accuracy=self.accuracy, fall=self.fall)


@dataclass(frozen=True, slots=True)
class FleetReport:
    """All cameras at one moment; `lost` workers do not answer, and may be replaced."""

    time: float
    cameras: tuple[CameraState, ...]
    lost: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether no camera has anything left to do."""
        return all(camera.has_ended for camera in self.cameras)


@final
class Watch:
    """Sums up the reports of one camera."""

    def __init__(self, *, frames: int, fps: float, target: float) -> None:
        self.frames = self.begun_at = frames
        self.fps, self.target = fps, target
        self.time_s, self.stride, self.calls, self.updates = 0.0, 0, 0, 0
        self._accuracies: deque[float] = deque(maxlen=2 * RECENT)
        self._started = time.perf_counter()

    def add(self, report: StreamReport) -> None:
        """Take a report in."""
        self.frames, self.time_s, self.stride = report.frame + 1, report.time_s, report.stride
        self.updates += report.updates
        self.calls += report.teacher_ran
        if report.accuracy is not None:
            self._accuracies.append(report.accuracy)

    def values(self) -> dict[str, Any]:
        """Fields of a `CameraState`."""
        known = list(self._accuracies)
        recent, before = known[-RECENT:], known[:-RECENT]
        accuracy = statistics.fmean(recent) if recent else None
        fall = max(0.0, statistics.fmean(before) - accuracy) if before and accuracy is not None else 0.0
        return {
            "frames": self.frames,
            "time_s": round(self.time_s, 3),
            "stride": self.stride,
            "accuracy": accuracy,
            "fall": fall,
            "target": self.target,
            "wants_per_s": self.fps / self.stride if self.stride else 0.0,
            "calls": self.calls,
            "updates": self.updates,
            "frames_per_s": (self.frames - self.begun_at) / max(1e-9, time.perf_counter() - self._started),
            "begun_at": self.begun_at,
        }


def write_state(out: Path, report: FleetReport) -> None:
    """Write `fleet.json`, whole or not at all."""
    write_json(out / STATE, {"time": report.time, "cameras": [asdict(camera) for camera in report.cameras]})


def read_state(out: Path) -> FleetReport:
    """What `write_state` wrote last.

    Raises:
        UsageError: there is no fleet in that folder.
        StorageError: the file is damaged.
    """
    path = out / STATE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        cameras = tuple(from_dict(CameraState, camera, where=str(path)) for camera in values["cameras"])
        return FleetReport(float(values["time"]), cameras)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{out}: no fleet has run here; begin with narrowcast fleet run cameras.toml --out {out}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise StorageError(f"{path}: damaged: {error}") from error


def write_event(out: Path, kind: str, **facts: Any) -> None:
    """Append a line to `events.jsonl`: what happened to whom, and when."""
    line = json.dumps({"time": round(time.time(), 3), "kind": kind, **facts}) + "\n"
    try:
        with (out / EVENTS).open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise StorageError(f"{out / EVENTS}: cannot be written: {error.strerror}") from error
