"""The sequences of DAVIS-2016 (one object) and DAVIS-2017 (several, each its own class), as streams."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from narrowcast.core.errors import SourceError
from narrowcast.core.frames import IGNORE
from narrowcast.stream.clips import Clip
from narrowcast.stream.paired_labels import PairedLabels, one_of, pairs, same_values
from narrowcast.video.labels import read_label_png

FPS = Fraction(24)
# The classes, by VOC's names, that the object of a sequence of DAVIS-2016 val is made of; ours. Those without one: all.
OBJECTS = {
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


def davis_clips(folder: Path) -> list[Clip]:
    """The sequences of DAVIS-2016: `JPEGImages/[480p/]NAME/*.jpg`, `Annotations/[480p/]NAME/*.png`, one object."""
    table = np.ones(256, np.uint8)
    table[0] = 0
    clips = []
    for sequence, masks in _sequences(folder):
        labels = PairedLabels(pairs(sequence, masks), ("background", "object"), table, are_objects=True)
        made_of = OBJECTS.get(sequence.name)
        classes = None if made_of is None else f"{made_of}=object"
        clips.append(Clip(sequence.name, str(sequence), FPS, classes, labels))
    return clips


def davis2017_clips(folder: Path) -> list[Clip]:
    """The sequences of DAVIS-2017, laid out alike: indexed PNGs with a value for each object of the first mask.

    Where `ImageSets/2017/val.txt` is there it says which; its training sequences are then left out.
    """
    chosen = _listed(folder / "ImageSets" / "2017" / "val.txt")
    clips = []
    for sequence, masks in _sequences(folder):
        if chosen is None or sequence.name in chosen:
            paths = pairs(sequence, masks)
            table = same_values()
            objects = _num_objects(paths, sequence)
            # an object that comes later than the first frame was not asked for: the benchmark does not score it
            table[objects + 1 : IGNORE] = 0
            names = ("background", *(f"object-{number}" for number in range(1, objects + 1)))
            clips.append(
                Clip(sequence.name, str(sequence), FPS, None, PairedLabels(paths, names, table, are_objects=True))
            )
    if not clips:
        raise SourceError(f"{folder}: has none of the sequences that ImageSets/2017/val.txt lists")
    return clips


def _sequences(folder: Path) -> list[tuple[Path, Path]]:
    """(images, masks) of every sequence."""
    images, masks = (one_of(folder / name / "480p", folder / name) for name in ("JPEGImages", "Annotations"))
    return [(path, masks / path.name) for path in sorted(images.iterdir()) if path.is_dir()]


def _listed(path: Path) -> set[str] | None:
    return set(path.read_text(encoding="utf-8").split()) if path.exists() else None


def _num_objects(paths: list[Path | None], sequence: Path) -> int:
    """How many objects the first mask has: the highest value, as the benchmark counts."""
    first = next(path for path in paths if path is not None)
    values = read_label_png(first)
    known = values[values != IGNORE]
    if not known.any():
        raise SourceError(f"{first}: shows no object, so nothing is to be found in {sequence.name}")
    return int(known.max())
