"""A student taught with labels of picked frames, beside the one that it was: compared, put in place if better."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from narrowcast.core.errors import ConfigError, SourceError, UsageError
from narrowcast.core.files import write_text
from narrowcast.core.runtime import seed_everything
from narrowcast.data.image_table import read_rgb
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import ClassMap, SelectedTeacher
from narrowcast.models.mask_folder import CLASSES_FILE, read_classes
from narrowcast.models.student import AnyStudent, save_student
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.stream.apply import Adapted
from narrowcast.stream.learner import Learner, LearnerConfig, Sample, shrink
from narrowcast.stream.targets import resize_labels, targets
from narrowcast.video.labels import write_label_png

LABELS = "labels"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainConfig:
    """How a student learns picked frames; all ours.

    Attributes:
        passes: over the labelled frames.
        learning_rate: of Adam.
        seed: of the order.
    """

    passes: int = 20
    learning_rate: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.passes < 1 or self.learning_rate <= 0:
            raise ConfigError("[retrain] passes and learning_rate must be positive")


@dataclass(frozen=True, slots=True)
class RetrainReport:
    """The mean loss of one pass, `done` of `total`."""

    done: int
    total: int
    loss: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean IoU (pooled) of two students on the same frames, which neither has learned."""

    frames: int
    old: float
    new: float

    def is_better(self, margin: float) -> bool:
        """Whether the new one wins by more than `margin`."""
        return self.new > self.old + margin


def label_frames(frames: Path, labels: Path, teacher: Teacher, class_map: ClassMap) -> int:
    """Let a teacher answer in place of a person: a label PNG for each frame; how many there are."""
    selected, paths = SelectedTeacher(teacher, class_map), _images(frames)
    labels.mkdir(parents=True, exist_ok=True)
    write_text(labels / CLASSES_FILE, "\n".join(class_map.classes) + "\n")
    for path in paths:
        index = int(path.stem) if path.stem.isdecimal() else None
        write_label_png(labels / path.name, selected(_rgb(path), frame_index=index).labels)
    return len(paths)


def retrain(
    adapted: Adapted,
    frames: Path,
    labels: Path,
    out: Path,
    *,
    config: RetrainConfig,
    size_wh: tuple[int, int] | None,
    device: torch.device,
) -> Iterator[RetrainReport]:
    """Teach a copy of a student the frames that have labels, and write it to the file `out`; a report a pass.

    Raises:
        SourceError: no frame has labels.
        UsageError: the labels are of other classes than the student's.
    """
    seed_everything(config.seed)
    samples = [
        Sample(image, *targets(TeacherLabels(label), (image.shape[1], image.shape[0])))
        for image, label in _pairs(adapted, frames, labels, size_wh)
    ]
    settings = LearnerConfig(learning_rate=config.learning_rate, own_share=1.0, prior_share=0.0)
    learner, rng = Learner(adapted.net, settings, device=device), np.random.default_rng(config.seed)
    for done in range(1, config.passes + 1):
        losses = [learner.attempt(samples[ix]).step() for ix in rng.permutation(len(samples))]
        yield RetrainReport(done, config.passes, float(np.mean(losses)))
    save_student(out, _plain(learner), adapted.classes, meta={"frames": len(samples)})


def compare(
    old: Adapted,
    new: Adapted,
    frames: Path,
    labels: Path,
    *,
    size_wh: tuple[int, int] | None,
    device: torch.device,
) -> Comparison:
    """Both students, which only infer, on the labelled frames.

    Raises:
        SourceError, UsageError: as `retrain`; or the two have different classes.
    """
    if old.classes != new.classes:
        raise UsageError(f"{new.path}: has the classes {', '.join(new.classes)}, not {', '.join(old.classes)}")
    pairs = list(_pairs(old, frames, labels, size_wh))
    found = [_score(adapted, pairs, device) for adapted in (old, new)]
    return Comparison(len(pairs), *found)


def promote(comparison: Comparison, new: Path, place: Path, *, margin: float) -> bool:
    """Put the new student's file in the place of the old one if it wins, which is kept as `.before`; whether it did."""
    if not comparison.is_better(margin):
        return False
    if place.exists():
        shutil.copy(place, place.with_name(place.name + ".before"))
    temporary = place.with_name(f".{place.name}.tmp")
    shutil.copy(new, temporary)
    temporary.replace(place)
    return True


def _score(adapted: Adapted, pairs: list[tuple[np.ndarray, np.ndarray]], device: torch.device) -> float:
    learner = Learner(adapted.net, LearnerConfig(prior_share=0.0), device=device)
    score = SegmentationScore(adapted.classes)
    for image, label in pairs:
        score.add(learner.predict(image), resize_labels(label, (image.shape[1], image.shape[0])))
    return score.pooled or 0.0


def _pairs(
    adapted: Adapted, frames: Path, labels: Path, size_wh: tuple[int, int] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images at the student's size, with the labels of their names."""
    for image, label in labelled(adapted.classes, frames, labels):
        size = size_wh or adapted.size_wh or (image.shape[1], image.shape[0])
        yield np.ascontiguousarray(shrink(image, size)), label


def labelled(classes: Sequence[str], frames: Path, labels: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images with the labels of their names, which may be of another size.

    Raises:
        SourceError: no frame has labels.
        UsageError: the labels are of other classes.
    """
    if read_classes(labels / CLASSES_FILE) != tuple(classes):
        raise UsageError(f"{labels / CLASSES_FILE}: other classes than those that are learned: {', '.join(classes)}")
    num = 0
    for path in _images(frames):
        if (labels / path.name).exists():
            num += 1
            yield _rgb(path), _labels(labels / path.name)
    if not num:
        raise SourceError(f"{labels}: no labels of the frames in {frames}; a label has its frame's name")


def _images(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.png"))
    if not found:
        raise SourceError(f"{folder}: no PNG in it")
    return found


def _rgb(path: Path) -> np.ndarray:
    return np.array(read_rgb(path))  # a copy: torch refuses what it may not write to


def _labels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.array(image, np.uint8)
    except (UnidentifiedImageError, OSError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def _plain(learner: Learner) -> AnyStudent:
    net = learner.net
    assert isinstance(net, AnyStudent)
    return net
