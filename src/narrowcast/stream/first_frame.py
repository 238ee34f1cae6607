"""Video object segmentation by learning while it plays: configurations A, B and C of section 2.4.8 (table 2.5).

All three learn the labels of the first frame until they are nearly perfect (accuracy 0.95) or 500 updates have been
made, each on another distorted copy: mirrored, turned, blurred, noisy. A learns nothing after that. C learns the labels
of every 16th frame in the same way: those of people, where `--teacher labels` asks for them. B learns what another
method says of every 16th frame: the masks that it has left in a folder, as the thesis takes those of OSVOS-S, or a
segmenter that knows classes and not objects, of which those classes count that lie on an object in the first frame.
The thesis begins with a network pretrained on YouTube-VOS; ours is the student that ships, or the one that is named.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.core.frames import IGNORE, Frame
from narrowcast.metrics.segmentation import frame_iou
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.mask_folder import masks_by_frame
from narrowcast.models.pretrained import student_called
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.stream.clips import Frames
from narrowcast.stream.learner import Learner, LearnerConfig, Sample, shrink
from narrowcast.stream.schedule import has_elapsed
from narrowcast.stream.setting import Setting, Started
from narrowcast.stream.stream_report import StreamReport, predicted
from narrowcast.stream.targets import targets
from narrowcast.video.labels import read_label_png

EVERY = 16  # frames; section 2.4.8
MAX_UPDATES, ACCURACY = 500, 0.95  # on each teacher frame; section 2.4.8
LOOK_EVERY = 10  # updates from one look at the accuracy to the next; ours
MAX_TURN_DEGREES, MAX_BLUR_PX, MAX_NOISE = 15.0, 1.5, 8.0  # section 2.4.8 names the distortions; how strong is ours
MIN_SHARE = 0.5  # of a segmenter's class in the first frame that must lie on an object; ours

Labels = UInt8[np.ndarray, "h w"]


@final
@dataclass(frozen=True, slots=True)
class FirstFrame:
    """A method (`stream.methods`).

    Attributes:
        configuration: "a", "b" or "c".
        every: frames from one teacher frame to the next; A has the first one only.
        student: to begin with.
        mimicked: of B: a folder with a folder of masks for each stream, or a teacher.
        max_updates, accuracy: when a frame has been learned.
    """

    configuration: Literal["a", "b", "c"]
    every: int = EVERY
    student: str = "pretrained"
    mimicked: str = ""
    max_updates: int = MAX_UPDATES
    accuracy: float = ACCURACY
    is_seeded: bool = True

    def __post_init__(self) -> None:
        if self.every < 1 or self.max_updates < 1 or not 0 < self.accuracy <= 1:
            raise ConfigError(
                f"davis-{self.configuration}: every = {self.every}, max_updates = {self.max_updates}, accuracy ="
                f" {self.accuracy}: must be positive, and the accuracy at most 1"
            )

    def start(self, setting: Setting) -> Started:
        net = student_called(self.student, setting.class_map)
        config = LearnerConfig(learning_rate=1e-3, own_share=1.0, prior_share=0.0)
        learner = Learner(net, config, device=setting.device)
        later = self._later(setting)
        return Started(lambda frames: self._run(frames, learner, setting, later), net)

    def _later(self, setting: Setting) -> Teacher:
        """Whoever labels the frames after the first."""
        return mimicked(self.mimicked, setting) if self.configuration == "b" else setting.teacher

    def _run(
        self, frames: Iterable[Frame], learner: Learner, setting: Setting, later: Teacher
    ) -> Iterator[StreamReport]:
        rng, last = np.random.default_rng(setting.seed), None
        for frame in frames:
            started = time.perf_counter()
            image = shrink(frame.image_rgb, setting.size_wh)
            prediction = learner.predict(image)
            report = predicted(
                frame,
                prediction,
                stride=self.every,
                timings_ms={"student": (time.perf_counter() - started) * 1e3},
            )
            is_due = has_elapsed(frame.index, last_teacher_frame=last, stride=self.every)
            if is_due and (last is None or self.configuration != "a"):
                teacher = setting.teacher if last is None else later
                last = frame.index
                report = self._taught(report, frame, image, learner, teacher, setting, rng)
            yield report

    def _taught(
        self,
        report: StreamReport,
        frame: Frame,
        image: UInt8[np.ndarray, "h w 3"],
        learner: Learner,
        teacher: Teacher,
        setting: Setting,
        rng: np.random.Generator,
    ) -> StreamReport:
        """The report of a teacher frame, after learning it."""
        started = time.perf_counter()
        answer = teacher(frame.image_rgb, frame_index=frame.index)
        answered = time.perf_counter()
        sample = Sample(image, *targets(answer, setting.size_wh))
        num_classes = len(setting.class_map.classes)

        def accuracy_of(labels: Labels) -> float:
            return frame_iou(labels, sample.labels, num_classes)

        before = after = accuracy_of(report.prediction)
        updates, loss = 0, None
        while updates < self.max_updates and after < self.accuracy and sample.weights.any():
            for _ in range(min(LOOK_EVERY, self.max_updates - updates)):
                loss = learner.attempt(distorted(sample, rng)).step()
                updates += 1
            after = accuracy_of(learner.predict(image))
        learning_ms = (time.perf_counter() - answered) * 1e3
        timings_ms = {"teacher": (answered - started) * 1e3, "learning": learning_ms}
        return replace(
            report,
            labels=sample.labels,
            teacher_labels=sample.labels,
            updates=updates,
            accuracy=before,
            accuracy_after=after,
            loss=loss,
            timings_ms={**report.timings_ms, **timings_ms} | ({"update": learning_ms / updates} if updates else {}),
        )


def distorted(sample: Sample, rng: np.random.Generator) -> Sample:
    """A copy that is mirrored or not, turned, blurred or not, and noisy; what comes into view by turning is unknown."""
    height, width = sample.labels.shape
    turned = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), rng.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES), 1.0
    )
    image = cv2.warpAffine(sample.image_rgb, turned, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    labels = cv2.warpAffine(sample.labels, turned, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORE)
    weights = cv2.warpAffine(sample.weights, turned, (width, height), flags=cv2.INTER_NEAREST, borderValue=0)
    if rng.random() < 0.5:
        image, labels, weights = (part[:, ::-1] for part in (image, labels, weights))
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), rng.uniform(0.3, MAX_BLUR_PX))
    noise = rng.normal(0, rng.uniform(0, MAX_NOISE), image.shape)
    image = (image + noise).round().clip(0, 255).astype(np.uint8)
    return Sample(image, np.ascontiguousarray(labels), np.ascontiguousarray(weights))


# --- who is mimicked --------------------------------------------------------------------------------------------------


def mimicked(spec: str, setting: Setting) -> Teacher:
    """The method that `spec` names, in the stream's own labels.

    Raises:
        SourceError: a folder that has no masks of this stream.
        NarrowcastError: what `load_teacher` raises.
    """
    classes = setting.class_map.classes
    if Path(spec).is_dir():
        with setting.open_frames() as frames:
            assert isinstance(frames, Frames)
            return LeftMasks(Path(spec) / frames.name, classes)
    expert = load_teacher(spec, device=setting.device, num_threads=torch.get_num_threads())
    with setting.open_frames() as frames:
        first = next(iter(frames))
    truth = setting.teacher(first.image_rgb, frame_index=first.index).labels
    seen = expert(first.image_rgb, frame_index=first.index).labels
    return Renamed(expert, classes, classes_on_objects(seen, truth))


@final
class LeftMasks:
    """Masks that a method has left, `00000.png` and on, as results on DAVIS are published."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; of the method to mimic, each stream needs its masks there")
        self.classes, self._folder, self._paths = classes, folder, masks_by_frame(folder)

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        if frame_index not in self._paths:
            raise SourceError(f"{self._folder}: no mask of frame {frame_index}")
        values = read_label_png(self._paths[frame_index])
        if len(self.classes) == 2:
            values = (values > 0).astype(np.uint8)  # of one object, masks are black and white
        return TeacherLabels(np.where(values < len(self.classes), values, np.uint8(0)))


@final
class Renamed:
    """A teacher of classes, whose classes become a stream's objects."""

    def __init__(self, teacher: Teacher, classes: tuple[str, ...], objects: Mapping[int, int]) -> None:
        self.classes, self._teacher = classes, teacher
        self._table = np.zeros(256, np.uint8)
        self._table[IGNORE] = IGNORE
        for label, number in objects.items():
            self._table[label] = number

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        return TeacherLabels(self._table[self._teacher(image_rgb, frame_index=frame_index).labels])


def classes_on_objects(seen: Labels, truth: Labels) -> dict[int, int]:
    """Which of a segmenter's classes are which object, by the first frame: at least half of the class lies on objects,
    and of these the one that it covers most of. Objects of one class cannot be told apart: the larger one gets it.

    >>> classes_on_objects(np.uint8([[7, 7, 8, 9]]), np.uint8([[1, 1, 2, 0]]))
    {7: 1, 8: 2}
    """
    found = {}
    for label in np.unique(seen[(seen > 0) & (seen != IGNORE)]).tolist():
        own = truth[seen == label]
        on_objects = own[(own > 0) & (own != IGNORE)]
        if on_objects.size and on_objects.size >= MIN_SHARE * np.count_nonzero(own != IGNORE):
            found[label] = int(np.bincount(on_objects).argmax())
    return found
