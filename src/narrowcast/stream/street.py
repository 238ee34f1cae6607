"""Drives through streets with labels by people: CamVid and Cityscapes, as streams."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from narrowcast.core.errors import SourceError
from narrowcast.core.files import write_json
from narrowcast.core.frames import IGNORE
from narrowcast.models.taxonomy import CITYSCAPES
from narrowcast.stream.clips import Clip
from narrowcast.stream.labelling import NOTE, label_path, write_label_png
from narrowcast.stream.paired_labels import PairedLabels, Table, label_of, one_of, pairs, table_of
from narrowcast.video.images import list_folder
from narrowcast.video.labels import read_label_png

CAMVID_FPS, CITYSCAPES_FPS = Fraction(1), Fraction(17)
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
# Values of `labelIds` in the order of the 19 classes that count (`trainIds` 0 to 18); all others are void.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IMAGE, TRAIN_IDS, ALL_IDS = "_leftImg8bit", "_gtFine_labelTrainIds", "_gtFine_labelIds"


def camvid_clips(folder: Path) -> list[Clip]:
    """The drives of CamVid: `images/DRIVE_*.jpg` with `labels/DRIVE_*.png`, values 0 to 10, 11 void; about 1 fps."""
    paths = list_folder(one_of(folder / "images"))
    drives = sorted({path.stem.rpartition("_")[0] for path in paths})
    table = table_of(1, len(CAMVID))
    clips = []
    for drive in drives:
        own = [path for path in paths if path.stem.rpartition("_")[0] == drive]
        labels = PairedLabels([label_of(path.stem, folder / "labels") for path in own], ("background", *CAMVID), table)
        clips.append(Clip(drive, f"{folder}/images/{drive}_*{own[0].suffix}", CAMVID_FPS, None, labels))
    return clips


def cityscapes_clips(folder: Path) -> list[Clip]:
    """A stream for each city of Cityscapes' validation split.

    `leftImg8bit_sequence/val/CITY/*_leftImg8bit.png` (30 frames of 1.8 s around each labelled one, a cut between any
    two) or, without it, `leftImg8bit/val/CITY/` (the labelled frames alone), with `gtFine/val/CITY/`: `labelTrainIds`
    where they were made, else `labelIds`.
    """
    images = one_of(folder / "leftImg8bit_sequence" / "val", folder / "leftImg8bit" / "val")
    clips = []
    for city in sorted(path for path in images.iterdir() if path.is_dir()):
        masks, ending = _masks_of(folder, "val", city.name)
        paths = pairs(city, masks, suffix=IMAGE, ending=ending)
        labels = PairedLabels(paths, CITYSCAPES, _cityscapes_table(ending))
        clips.append(Clip(city.name, str(city), CITYSCAPES_FPS, None, labels))
    if not clips:
        raise SourceError(f"{images}: no folder of a city in it")
    return clips


def lay_out_cityscapes(folder: Path, labels: Path, *, split: str = "train") -> Iterator[Path]:
    """Write the labels of a split as `stream pretrain` takes them, for a student on its own (section 2.4.9).

    Args:
        folder: of Cityscapes; the images are those of `leftImg8bit/SPLIT`, which pretraining is to be given.
        labels: folder for the PNGs: 1 to 19 are the classes, 0 is what is none of them (void).
    """
    images = one_of(folder / "leftImg8bit" / split)
    write_json(labels / NOTE, {"teacher": "cityscapes", "classes": list(CITYSCAPES)})
    for city in sorted(path for path in images.iterdir() if path.is_dir()):
        masks, ending = _masks_of(folder, split, city.name)
        table = _cityscapes_table(ending)
        for image in list_folder(city):
            mask = label_of(image.stem.removesuffix(IMAGE) + ending, masks)
            if mask is not None:
                path = label_path(labels, images, image.relative_to(images))
                values = table[read_label_png(mask)]
                write_label_png(path, np.where(values == IGNORE, np.uint8(0), values))
                yield path


def _masks_of(folder: Path, split: str, city: str) -> tuple[Path, str]:
    """The folder of a city's labels, and how their names end."""
    masks = one_of(folder / "gtFine" / split / city)
    return masks, TRAIN_IDS if any(masks.glob(f"*{TRAIN_IDS}.png")) else ALL_IDS


def _cityscapes_table(ending: str) -> Table:
    if ending == TRAIN_IDS:
        return table_of(1, len(LABEL_IDS))
    table = np.full(256, IGNORE, np.uint8)
    table[list(LABEL_IDS)] = np.arange(1, len(LABEL_IDS) + 1)
    return table
