"""Short streams with the teacher's labels at hand, for experiments that cost little; cost is counted, not timed.

Drawn ones (photos as grounds, exact labels) and pieces of two real clips, all 256 pixels wide. What a run costs is
counted: calls, updates, lessons, predictions and moved frames, times what each took on vtest in evaluation.json.
"""

import math
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import record
from jaxtyping import UInt8

from narrowcast.core.errors import SourceError
from narrowcast.core.frames import Frame
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import ClassMap, SelectedTeacher, parse_classes
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.learner import shrink
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.targets import resize_labels
from narrowcast.video.drift import DriftConfig, drifting
from narrowcast.video.source import open_source

WIDTH, FPS, REAL_CLASSES = 256, 25, "person,car+bus=auto"
REAL = {"vtest": "vtest.avi", "one-by-one": "one-by-one-person-detection.mp4"}  # also their folders of labels


@dataclass(frozen=True, slots=True)
class Short:
    """A stream in memory; it is its own teacher."""

    name: str
    images: list[UInt8[np.ndarray, "h w 3"]] = field(repr=False)
    labels: list[UInt8[np.ndarray, "h w"]] = field(repr=False)
    class_map: ClassMap = field(repr=False)
    places: list[int] = field(repr=False)  # of every frame

    @property
    def classes(self) -> tuple[str, ...]:
        return self.class_map.classes

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        assert frame_index is not None
        return TeacherLabels(self.labels[frame_index])

    def frames(self) -> Iterator[Frame]:
        for index, image_rgb in enumerate(self.images):
            yield Frame(index=index, time_s=Fraction(index, FPS), image_rgb=image_rgb)


def drawn(name: str, config: DriftConfig) -> Short:
    """A stream of shapes before photos."""
    photos = unpacked_photos()
    rng = np.random.default_rng(config.seed)
    chosen = [photos[ix] for ix in rng.choice(len(photos), 40, replace=False)]
    made = list(drifting(config, chosen))
    class_map = parse_classes("all", config.class_names)
    return Short(name, [f.image_rgb for f, _, _ in made], [t for _, t, _ in made], class_map, [s for *_, s in made])


def piece(clip: str, cache: Path, first: int, num: int, *, place: int = 0) -> Short:
    """`num` frames of a real clip with kept labels of the teacher."""
    folder = cache / clip
    if not folder.is_dir():
        raise SourceError(f"{folder}: the teacher's labels of {clip} are not there; --cache names their folder")
    kept = MaskFolderTeacher(folder)
    class_map = parse_classes(REAL_CLASSES, kept.classes)
    teacher, images, labels = SelectedTeacher(kept, class_map), [], []
    with open_source(str(record.data() / "clips" / REAL[clip]), max_frames=first + num) as source:
        for frame in source:
            if frame.index < first:
                continue
            height, width = frame.image_rgb.shape[:2]
            size_wh = (WIDTH, round(WIDTH * height / width / 2) * 2)
            images.append(shrink(frame.image_rgb, size_wh))
            labels.append(resize_labels(teacher(frame.image_rgb, frame_index=frame.index).labels, size_wh))
    return Short(f"{clip} {first}-{first + num}", images, labels, class_map, [place] * num)


def in_turns(name: str, streams: Sequence[Short], length: int) -> Short:
    """Stretches of several streams in turns; each goes on where it left off."""
    size_wh = (streams[0].images[0].shape[1], streams[0].images[0].shape[0])
    images, labels, places = [], [], []
    for begin in range(0, min(len(one.images) for one in streams), length):
        for place, one in enumerate(streams):
            images += [shrink(image, size_wh) for image in one.images[begin : begin + length]]
            labels += [resize_labels(each, size_wh) for each in one.labels[begin : begin + length]]
            places += [place] * len(one.images[begin : begin + length])
    return Short(name, images, labels, streams[0].class_map, places)


def unpacked_photos() -> list[Path]:
    """Photos, unpacked once beside the results of builds."""
    folder = record.REPOSITORY / "build" / "photos"
    if not folder.exists():
        with tarfile.open(record.data() / "imagenet-sample.tar") as archive:
            archive.extractall(folder, filter="data")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


@dataclass(slots=True)
class Count:
    """What a run did, how good it was, and what that costs."""

    short: Short
    score: SegmentationScore = field(init=False)
    calls: int = 0
    updates: int = 0
    lessons: int = 0
    heard: int = 0

    def __post_init__(self) -> None:
        self.score = SegmentationScore(self.short.classes)

    def add(self, report: StreamReport) -> None:
        """Count a frame; where the teacher ran its labels are put out, by every method."""
        truth = self.short.labels[report.frame]
        self.score.add(truth if report.teacher_ran else report.prediction, truth)
        self.calls += report.teacher_ran
        self.updates += report.updates
        self.lessons += report.accuracy_after is not None
        self.heard += report.student_ran

    def row(self) -> dict[str, float]:
        """The numbers of the run."""
        parts, frames = parts_ms(), len(self.short.images)
        cost_ms = self.calls * parts["teacher"] + self.updates * parts["update"] + self.lessons * parts["lesson"]
        cost_ms += self.heard * parts["student"] + (frames - self.heard) * parts["moved"]
        return {
            "miou": self.score.pooled or math.nan,
            "teacher_fraction": self.calls / frames,
            "updates": self.updates,
            "heard": self.heard / frames,
            "cost_s": cost_ms / 1e3,
            "speedup": frames * parts["teacher"] / cost_ms,
        }


def parts_ms() -> dict[str, float]:
    """What each part took on vtest at 384 pixels."""
    rows = {row["method"]: row for row in record.read(record.RESULTS, "evaluation")["rows"] if row["source"] == "vtest"}
    learning, default = rows["learning-0.8"], rows["default-0.8"]
    lessons = round(learning["teacher_fraction"] * learning["frames"])
    return {
        "teacher": learning["teacher_ms_p50"],
        "update": learning["update_ms_p50"],
        "lesson": (learning["learning_s"] * 1e3 - learning["updates"] * learning["update_ms_p50"]) / lessons,
        "student": learning["student_ms_p50"],
        "moved": default["student_ms_p50"],
    }


def less_at_equal_cost(row: dict[str, float], points: Sequence[dict[str, float]]) -> float:
    """mIoU less that of `points` at the same cost, joined by lines over the logarithm of the speedup, ends held."""
    speeds, scores = zip(*sorted((math.log(one["speedup"]), one["miou"]) for one in points), strict=True)
    return row["miou"] - float(np.interp(math.log(row["speedup"]), speeds, scores))
