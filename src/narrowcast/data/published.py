"""Tables of the published annotation formats that iNaturalist-BG and Places-BG are made of (section 5.2).

Files are looked for where the data sets' own archives put them; images are not looked for until they are read.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from narrowcast.core.errors import SourceError
from narrowcast.data.image_table import ImageTable, open_table

INATURALIST = ("train2017.json", "val2017.json")
PLACES = ("categories_places365.txt", "places365_train_standard.txt", "places365_val.txt")


def is_inaturalist(folder: Path) -> bool:
    """Whether `folder` holds iNaturalist-2017's annotations."""
    return all((folder / name).is_file() for name in INATURALIST)


def is_places(folder: Path) -> bool:
    """Whether `folder` holds Places365-Standard's lists."""
    return all((folder / name).is_file() for name in PLACES)


def inaturalist_table(folder: Path) -> ImageTable:
    """iNaturalist-2017: COCO-like JSON with images, annotations and categories; validation is "test".

    Raises:
        SourceError: a file is damaged, or an annotation names an image or a category that is not in it.
    """
    train, test = (_read_json(folder / name) for name in INATURALIST)
    names = {int(one["id"]): str(one["name"]) for one in train["categories"]}
    number = {identity: ix for ix, identity in enumerate(sorted(names))}
    classes = tuple(names[identity] for identity in sorted(names))
    rows: list[tuple[Path, int, str]] = []
    for file, note, split in ((INATURALIST[0], train, "train"), (INATURALIST[1], test, "test")):
        files = {int(one["id"]): folder / str(one["file_name"]) for one in note["images"]}
        for annotation in note["annotations"]:
            image, category = int(annotation["image_id"]), int(annotation["category_id"])
            if image not in files or category not in number:
                what = f"image {image}" if image not in files else f"category {category}"
                raise SourceError(f"{folder / file}: an annotation names {what}, which is not in the file")
            rows.append((files[image], number[category], split))
    return _table(rows, classes, folder)


def places_table(folder: Path) -> ImageTable:
    """Places365-Standard: lists of "path label"; training images below data_large, validation below val_large.

    Raises:
        SourceError: a line is not such a pair, or its label is not in the list of categories.
    """
    listed = sorted(_pairs(folder / PLACES[0], 10**9), key=lambda pair: pair[1])
    classes = tuple(name.removeprefix("/")[2:] if name[:1] == "/" else name for name, _ in listed)
    rows = [
        (folder / "data_large" / name.removeprefix("/"), label, "train")
        for name, label in _pairs(folder / PLACES[1], len(classes))
    ]
    rows += [(folder / "val_large" / name, label, "test") for name, label in _pairs(folder / PLACES[2], len(classes))]
    return _table(rows, classes, folder)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        if missing := {"images", "annotations", "categories"} - note.keys():
            raise SourceError(f"{path}: no '{min(missing)}': not annotations of iNaturalist-2017")
    except (OSError, ValueError, AttributeError) as error:
        raise SourceError(f"{path}: not annotations that can be read ({error})") from error
    return note


def _pairs(path: Path, num_classes: int) -> list[tuple[str, int]]:
    found = []
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, _, label = text.strip().rpartition(" ")
        if not name or not label.isdecimal() or int(label) >= num_classes:
            raise SourceError(f"{path}:{line}: expected a path and a label below {num_classes}, got '{text.strip()}'")
        found.append((name, int(label)))
    return found


def _table(rows: Sequence[tuple[Path, int, str]], classes: tuple[str, ...], folder: Path) -> ImageTable:
    labels = np.array([label for _, label, _ in rows], np.int64)
    return ImageTable(tuple(path for path, _, _ in rows), labels, classes, tuple(split for *_, split in rows), folder)


def open_any(path: Path) -> ImageTable:
    """`open_table`, or the table of a published format that lies in the folder `path`.

    Raises:
        SourceError: nothing there that is a table.
    """
    if is_inaturalist(path):
        return inaturalist_table(path)
    if is_places(path):
        return places_table(path)
    return open_table(path)
