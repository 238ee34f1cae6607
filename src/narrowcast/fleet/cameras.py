"""A fleet as a TOML file: what all cameras share, and each camera."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from narrowcast.core.config import from_dict, read_recipe, to_dict
from narrowcast.core.errors import ConfigError
from narrowcast.stream.distill import LEARNING, DistillConfig, with_accuracy
from narrowcast.stream.methods import overlaid
from narrowcast.stream.outputs import check_kinds
from narrowcast.stream.run import RunConfig
from narrowcast.video.container import scheme_of
from narrowcast.video.webcam import camera_number

SECTIONS = ("fleet", "camera", "schedule", "learner", "distill")
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}")
KEYS = ("place", "time", "person")


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraConfig:
    """One camera, `[camera.NAME]`.

    Attributes:
        name: of its run folder.
        source: as `stream run` takes it.
        size: the student's working size, WIDTHxHEIGHT; empty: the frames' own.
        accuracy: mean IoU that is enough.
        classes: as `stream run --classes`; empty: the fleet's.
        student: what it begins with where the zoo has nothing alike.
        score_every: score every N-th frame, outside the cost.
        score_with: another teacher to score with, such as a folder of labels; empty: the fleet's.
        max_frames: of the source; 0: all.
        live: frames are labelled as they come, teacher and updates run beside them (`stream run --live`).
        place, time, person: keys of the zoo of students (section 6.1): which place, what time of day, whose camera.
    """

    name: str
    source: str
    size: str = ""
    accuracy: float = 0.8
    classes: str = ""
    student: str = "pretrained"
    score_every: int = 0
    score_with: str = ""
    max_frames: int = 0
    live: bool = False
    place: str = ""
    time: str = ""
    person: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"[camera.{self.name}]: a name has letters, digits, '.', '_' and '-', and is a folder's")
        if not self.source:
            raise ConfigError(f"[camera.{self.name}]: source is empty")
        if self.size and not re.fullmatch(r"\d+x\d+", self.size):
            raise ConfigError(f"[camera.{self.name}] size = {self.size!r}: expected WIDTHxHEIGHT, such as 384x288")
        if not 0 < self.accuracy < 1:
            raise ConfigError(f"[camera.{self.name}] accuracy = {self.accuracy}: must be between 0 and 1")
        if self.score_every < 0 or self.max_frames < 0:
            raise ConfigError(f"[camera.{self.name}] score_every and max_frames must not be negative")
        if self.score_with and not self.score_every:
            raise ConfigError(f"[camera.{self.name}] score_with has no effect without score_every")

        if self.live and self.score_every and not self.score_with:
            raise ConfigError(
                f"[camera.{self.name}] score_every of a live camera would keep the teacher from teaching;"
                " add score_with, a folder of labels"
            )

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """The working size; None: the frames' own."""
        width, _, height = self.size.partition("x")
        return (int(width), int(height)) if self.size else None

    @property
    def is_live(self) -> bool:
        """Whether what is not read in time is gone, and the camera may be back when it fails."""
        return (
            (self.live and "://" in self.source)
            or scheme_of(self.source) in ("rtsp", "rtsps")
            or camera_number(self.source) is not None
        )

    @property
    def takes_turns(self) -> bool:
        """Whether it works whenever it may, and not when a frame comes."""
        return not (self.live or self.is_live)

    @property
    def keys(self) -> dict[str, str]:
        """The keys of the zoo that are given."""
        return {name: getattr(self, name) for name in KEYS if getattr(self, name)}


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetConfig:
    """What all cameras share, `[fleet]`.

    Attributes:
        teacher, classes: as `stream run` takes them.
        calls_per_s: teacher calls per second of video that all cameras together may make; 0: no limit.
        least_share: this share of an equal part is every camera's, whatever the others need.
        checkpoint_every: frames between checkpoints; a lost worker costs no more than these, done again.
        outputs: kinds of `stream.outputs`.
        zoo: folder of earlier students that cameras begin with and leave theirs in; empty: none.
        device: of students and teachers.
        num_threads: of each worker's and each teacher's arithmetic.
        max_batch: requests that a teacher answers at once.
        gpus_per_worker, gpus_per_teacher: that Ray reserves for each; parts of one are allowed.
        seed: of every camera's run.
    """

    teacher: str
    classes: str = "all"
    calls_per_s: float = 0.0
    least_share: float = 0.25  # ours
    checkpoint_every: int = 100
    outputs: tuple[str, ...] = ()
    zoo: str = ""
    device: str = "auto"
    num_threads: int = 1
    max_batch: int = 8
    gpus_per_worker: float = 0.0
    gpus_per_teacher: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("calls_per_s", "gpus_per_worker", "gpus_per_teacher"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"[fleet] {name} = {getattr(self, name)}: must not be negative")
        if not 0 <= self.least_share <= 1:
            raise ConfigError(f"[fleet] least_share = {self.least_share}: must be in [0, 1]")
        for name in ("checkpoint_every", "num_threads", "max_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"[fleet] {name} = {getattr(self, name)}: must be at least 1")
        check_kinds(self.outputs)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet as its file says it."""

    config: FleetConfig
    cameras: tuple[CameraConfig, ...]
    distill: DistillConfig = field(default_factory=lambda: LEARNING)

    def run_config(self, camera: CameraConfig, *, student: str | None = None) -> RunConfig:
        """What decides the camera's run.

        Args:
            student: what it begins with, where that is another than the file says.
        """
        return RunConfig(
            source=camera.source,
            teacher=self.config.teacher,
            classes=camera.classes or self.config.classes,
            student=student or camera.student,
            distill=with_accuracy(replace(self.distill, seed=self.config.seed), camera.accuracy),
            size_wh=camera.size_wh,
            score_every=camera.score_every,
            score_with=camera.score_with or None,
            outputs=self.config.outputs,
            checkpoint_every=self.config.checkpoint_every,
            seed=self.config.seed,
        )


def read_fleet(path: Path) -> Fleet:
    """The fleet in a TOML file.

    Raises:
        ConfigError: it cannot be read, has an unknown section or key (with a suggestion), or a value out of its range.
    """
    sections: dict[str, dict[str, Any]] = read_recipe(path, [], known=SECTIONS)
    config = from_dict(FleetConfig, sections.get("fleet", {}), where=f"{path}: [fleet]")
    cameras = []
    for name, values in sections.get("camera", {}).items():
        where = f"{path}: [camera.{name}]"
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: [camera] {name}: each camera is a section [camera.NAME]")
        if "name" in values:
            raise ConfigError(f"{where}: the section's name is the camera's; remove name")
        cameras.append(from_dict(CameraConfig, {"name": name} | values, where=where))
    parts = {name: sections.get(name, {}) for name in ("schedule", "learner", "distill")}
    if "accuracy" in parts["schedule"]:
        raise ConfigError(f"{path}: [schedule] accuracy has no effect; each camera has its own")
    return Fleet(config, tuple(cameras), overlaid(LEARNING, parts))


def changed_for_all(before: Fleet, now: Fleet) -> str | None:
    """What cannot change while a fleet runs and did; None where nothing did."""
    old, new = to_dict(before.config), to_dict(now.config)
    for name in old:
        if name not in ("calls_per_s", "least_share") and old[name] != new[name]:
            return name
    return "schedule, learner or distill" if before.distill != now.distill else None
