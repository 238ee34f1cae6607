"""Streams with labels by people, or with published predictions: `davis:FOLDER`, `camvid:FOLDER`, `lvs:FOLDER`,
`frames:FOLDER`, and those of a list, `list:FILE`; each with `#NAME` for one of its streams.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import final

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import SourceError, UsageError, did_you_mean
from narrowcast.core.frames import IGNORE
from narrowcast.models.mask_folder import CLASSES_FILE, read_classes
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.clips import Clip, plain_clips
from narrowcast.stream.listed_clips import listed_clips
from narrowcast.stream.lvs import lvs_clips
from narrowcast.video.images import list_folder, natural_key
from narrowcast.video.labels import read_label_png

DAVIS_FPS, CAMVID_FPS = Fraction(24), Fraction(1)
# The classes, by VOC's names, that the object of a sequence of DAVIS-2016 val is made of; ours. Those without one: all.
DAVIS_OBJECTS = {
    "blackswan": "bird",
    "bmx-trees": "bicycle+person",
    "breakdance": "person",
    "car-roundabout": "car",
    "car-shadow": "car",
    "cows": "cow",
    "dance-twirl": "person",
    "dog": "dog",
    "drift-chicane": "car",
    "drift-straight": "car",
    "horsejump-high": "horse+person",
    "kite-surf": "person",
    "libby": "dog",
    "motocross-jump": "motorbike+person",
    "paragliding-launch": "person",
    "parkour": "person",
    "scooter-black": "motorbike+person",
}
# CamVid's usual 11 classes in the order of their values, pedestrian under VOC's and COCO's name; 11 is void.
CAMVID = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "person",
    "bicyclist",
)


@final
class PairedLabels:
    """Label PNGs of a list of frames, None where a frame has none; it then says "unknown" of all pixels.

    Args:
        paths: one a frame.
        classes: names, the background first.
        table: from a PNG's value to the label.
    """

    def __init__(self, paths: Sequence[Path | None], classes: Sequence[str], table: UInt8[np.ndarray, "256"]) -> None:
        self.classes, self._paths, self._table = tuple(classes), paths, table

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        height, width = image_rgb.shape[:2]
        path = None if frame_index is None or frame_index >= len(self._paths) else self._paths[frame_index]
        if path is None:
            return TeacherLabels(np.full((height, width), IGNORE, np.uint8))
        labels = self._table[read_label_png(path)]
        if labels.shape != (height, width):
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        known = labels[labels != IGNORE]
        if known.size and known.max() >= len(self.classes):
            raise SourceError(f"{path}: holds the label {known.max()}; there are {len(self.classes)} classes, from 0")
        return TeacherLabels(labels)


def open_clips(specs: Sequence[str]) -> list[Clip]:
    """The streams that `specs` name: data sets give several, all else gives one.

    Raises:
        UsageError: two streams of one name, or a name that a data set does not have.
        SourceError: a folder is not laid out as its data set is.
    """
    plain = iter(plain_clips([spec for spec in specs if _kind(spec) is None]))
    clips = []
    for spec in specs:
        kind = _kind(spec)
        clips += [next(plain)] if kind is None else _chosen(spec, kind)
    names = [clip.name for clip in clips]
    if twice := [name for ix, name in enumerate(names) if name in names[:ix]]:
        raise UsageError(f"two streams are called '{twice[0]}'; evaluate them apart")
    return clips


def _kind(spec: str) -> str | None:
    kind, colon, _ = spec.partition(":")
    return kind if colon and kind in LAYOUTS and not Path(spec).exists() else None


def _chosen(spec: str, kind: str) -> list[Clip]:
    folder, _, name = spec.removeprefix(f"{kind}:").partition("#")
    if kind != "list" and not Path(folder).is_dir():
        raise SourceError(f"{spec}: no such folder: {folder}")
    clips = LAYOUTS[kind](Path(folder))
    chosen = [clip for clip in clips if name in ("", clip.name)]
    if not chosen:
        known = [clip.name for clip in clips]
        raise UsageError(f"{spec}: expected one of {', '.join(known[:8])}{did_you_mean(name, known)}")
    return chosen


def davis_clips(folder: Path) -> list[Clip]:
    """The sequences of DAVIS-2016: `JPEGImages/[480p/]NAME/*.jpg`, `Annotations/[480p/]NAME/*.png`, one object."""
    images, masks = (_one_of(folder / name / "480p", folder / name) for name in ("JPEGImages", "Annotations"))
    table = np.ones(256, np.uint8)
    table[0] = 0
    clips = []
    for sequence in sorted(path for path in images.iterdir() if path.is_dir()):
        labels = PairedLabels(_pairs(sequence, masks / sequence.name), ("background", "object"), table)
        made_of = DAVIS_OBJECTS.get(sequence.name)
        classes = None if made_of is None else f"{made_of}=object"
        clips.append(Clip(sequence.name, str(sequence), DAVIS_FPS, classes, labels))
    return clips


def camvid_clips(folder: Path) -> list[Clip]:
    """The drives of CamVid: `images/DRIVE_*.jpg` with `labels/DRIVE_*.png`, values 0 to 10, 11 void; about 1 fps."""
    paths = list_folder(_one_of(folder / "images"))
    drives = sorted({path.stem.rpartition("_")[0] for path in paths})
    table = np.full(256, IGNORE, np.uint8)
    table[: len(CAMVID)] = np.arange(1, len(CAMVID) + 1)
    clips = []
    for drive in drives:
        own = [path for path in paths if path.stem.rpartition("_")[0] == drive]
        labels = PairedLabels([_label_of(path, folder / "labels") for path in own], ("background", *CAMVID), table)
        clips.append(Clip(drive, f"{folder}/images/{drive}_*{own[0].suffix}", CAMVID_FPS, None, labels))
    return clips


def folder_clips(folder: Path) -> list[Clip]:
    """One stream: `images/` with `labels/` of the same names, as PNGs of class indices, and `labels/classes.txt`."""
    labels = _one_of(folder / "labels")
    classes = read_classes(labels / CLASSES_FILE)
    paths = _pairs(_one_of(folder / "images"), labels)
    return [Clip(folder.name, str(folder / "images"), None, None, PairedLabels(paths, classes, _same()))]


def _same() -> UInt8[np.ndarray, "256"]:
    return np.arange(256, dtype=np.uint8)


def _pairs(images: Path, labels: Path) -> list[Path | None]:
    paths = [_label_of(path, labels) for path in sorted(list_folder(images), key=natural_key)]
    if not any(paths):
        raise SourceError(f"{labels}: no label PNG has the name of an image in {images}")
    return paths


def _label_of(image: Path, labels: Path) -> Path | None:
    path = labels / f"{image.stem}.png"
    return path if path.exists() else None


def _one_of(*folders: Path) -> Path:
    for folder in folders:
        if folder.is_dir():
            return folder
    raise SourceError(f"{folders[-1]}: no such folder; see docs/evaluate.md for the layouts of data sets")


LAYOUTS: dict[str, Callable[[Path], list[Clip]]] = {
    "davis": davis_clips,
    "camvid": camvid_clips,
    "lvs": lvs_clips,
    "frames": folder_clips,
    "list": listed_clips,
}
