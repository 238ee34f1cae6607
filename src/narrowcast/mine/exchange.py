"""Labels in and out: CSV, COCO, ImageFolder, MegaDetector's JSON; YOLO-cls, WebDataset and FiftyOne's sample list.

What comes in is names of photos with labels; what goes out is a list of `Exported`. A name is what `NameIndex` takes.
"""

import csv
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from PIL import Image

from narrowcast.core.errors import SourceError, StorageError, UsageError, did_you_mean
from narrowcast.core.files import replacing, write_json, write_text
from narrowcast.mine.labels import VALUES, Value
from narrowcast.mine.session import MiningSession
from narrowcast.mine.sources import IMAGE_SUFFIXES, Place
from narrowcast.mine.strategies import top

YES = {"1", "yes", "true", "positive", "y"}
NO = {"0", "no", "false", "negative", "n"}
UNSURE = {"", "?", "unsure", "maybe"}


@dataclass(frozen=True, slots=True)
class Given:
    """A label that was given elsewhere, and where it stands there."""

    name: str
    value: Value
    where: str


@dataclass(frozen=True, slots=True)
class Exported:
    """A photo with its label ("" where it has none) and its score."""

    place: Place
    item: str
    size_wh: tuple[int, int]
    label: str
    score: float


# --- in ---------------------------------------------------------------------------------------------------------------


def read_labels(path: Path, category: str, *, confidence: float = 0.5) -> list[Given]:
    """Labels of one category from a file or folder, its kind told from what it holds.

    CSV: `path` and `label` (positive, negative, unsure, 1, 0, …), or `path` and `category`: rows of another category
    are negatives. COCO: images with an annotation of the category are positives, the others negatives. MegaDetector:
    images with a detection of the category of at least `confidence` are positives, those without any are negatives, the
    rest unsure. A folder of folders: photos in CATEGORY/ are positives, those in others negatives.

    Raises:
        SourceError: it cannot be read, is of no such kind, or a label in it is none; with file and line.
        UsageError: the category does not occur in it (with a suggestion).
    """
    if path.is_dir():
        return _folders(path, category)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix.lower() != ".json":
        return _csv(path, text, category)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    try:
        if "detection_categories" in values:
            return _megadetector(path, values, category, confidence)
        if {"images", "annotations", "categories"} <= set(values):
            return _coco(path, values, category)
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: damaged COCO or MegaDetector JSON: {type(error).__name__} {error}") from error
    raise SourceError(f"{path}: neither COCO (images, annotations, categories) nor MegaDetector (detection_categories)")


def value_of(text: str, *, where: str) -> Value:
    """The label that a word means.

    Raises:
        SourceError: none; the message begins with `where`.
    """
    word = text.strip().lower()
    for words, value in ((YES, "positive"), (NO, "negative"), (UNSURE, "unsure")):
        if word in words:
            return cast(Value, value)
    raise SourceError(f"{where}: label '{text}'; expected {', '.join(VALUES)}, 1 or 0{did_you_mean(word, VALUES)}")


def _csv(path: Path, text: str, category: str) -> list[Given]:
    reader = csv.DictReader(io.StringIO(text))
    names = set(reader.fieldnames or [])
    if "path" not in names or not names & {"label", "category"}:
        raise SourceError(f"{path}: expected a header with path and label, or path and category")
    given, seen = [], set()
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if "label" in names:
            if row.get("category") in (None, "", category):
                given.append(Given(row["path"], value_of(row["label"] or "", where=where), where))
            continue
        seen.add(row["category"])
        given.append(Given(row["path"], "positive" if row["category"] == category else "negative", where))
    if "label" not in names:
        _check_known(path, category, seen)
    return given


def _coco(path: Path, values: dict[str, Any], category: str) -> list[Given]:
    ids = {entry["name"]: entry["id"] for entry in values["categories"]}
    _check_known(path, category, ids)
    positive = {entry["image_id"] for entry in values["annotations"] if entry["category_id"] == ids[category]}
    return [
        Given(entry["file_name"], "positive" if entry["id"] in positive else "negative", f"{path}: image {entry['id']}")
        for entry in values["images"]
    ]


def _megadetector(path: Path, values: dict[str, Any], category: str, confidence: float) -> list[Given]:
    ids = {name: number for number, name in values["detection_categories"].items()}
    _check_known(path, category, ids)
    given = []
    for entry in values["images"]:
        if entry.get("failure"):
            continue
        best = max((d["conf"] for d in entry.get("detections") or [] if d["category"] == ids[category]), default=0.0)
        value: Value = "positive" if best >= confidence else "unsure" if best else "negative"
        given.append(Given(entry["file"], value, f"{path}: {entry['file']}"))
    return given


def _folders(path: Path, category: str) -> list[Given]:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    _check_known(path, category, [folder.name for folder in folders])
    return [
        Given(str(photo.resolve()), "positive" if folder.name == category else "negative", str(photo))
        for folder in folders
        for photo in sorted(folder.rglob("*"))
        if photo.suffix.lower() in IMAGE_SUFFIXES
    ]


def _check_known(path: Path, category: str, known: Any) -> None:
    if category not in known:
        shown = ", ".join(sorted(map(str, known))[:10])
        raise UsageError(f"{path}: has no category '{category}'{did_you_mean(category, map(str, known))}: {shown}")


# --- out --------------------------------------------------------------------------------------------------------------


def exported(session: MiningSession, *, num_top: int) -> list[Exported]:
    """The labelled photos of a session that are in the pool, and the `num_top` most likely others."""
    said = {session.pool_ix(item): value for item, value in {**session.labels.train, **session.labels.audit}.items()}
    labelled = [ix for ix in said if ix is not None]
    scores, catalogue = session.scores, session.pool.catalogue
    others = top(scores, session.is_open, num_top).tolist()
    return [
        Exported(
            catalogue.place(ix),
            catalogue.item(ix),
            catalogue.size_wh(ix),
            said.get(ix, ""),
            round(float(scores[ix]), 5),
        )
        for ix in labelled + others
    ]


def export_csv(rows: Sequence[Exported], out: Path, category: str) -> None:
    """path, label, score, item."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "category", "label", "score", "item"])
    writer.writerows([row.place.path, category, row.label, f"{row.score:.5f}", row.item] for row in rows)
    write_text(out, text.getvalue())


def export_coco(rows: Sequence[Exported], out: Path, category: str) -> None:
    """Images with image-level annotations of the positives; scores of all."""
    images = [
        {"id": ix, "file_name": row.place.path, "width": row.size_wh[0], "height": row.size_wh[1], "score": row.score}
        for ix, row in enumerate(rows, 1)
    ]
    annotations = [
        {"id": ix, "image_id": ix, "category_id": 1, "bbox": [0, 0, *row.size_wh], "iscrowd": 0}
        | {"area": row.size_wh[0] * row.size_wh[1]}
        for ix, row in enumerate(rows, 1)
        if row.label == "positive"
    ]
    write_json(out, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": category}]})


def export_fiftyone(rows: Sequence[Exported], out: Path, category: str) -> None:
    """The sample list of FiftyOne's `FiftyOneDataset` layout: filepath, ground truth, score."""
    samples = []
    for row in rows:
        truth = {"_cls": "Classification", "label": category if row.label == "positive" else f"not {category}"}
        sample: dict[str, Any] = {"filepath": row.place.path, "score": row.score, "item": row.item}
        samples.append(sample | ({"ground_truth": truth} if row.label in ("positive", "negative") else {}))
    write_json(out, {"samples": samples})


def export_folders(rows: Sequence[Exported], out: Path, category: str) -> None:
    """ImageFolder: CATEGORY/ and not-CATEGORY/ with links to the photos; photos in archives are copied out."""
    _link(rows, out, {"positive": category, "negative": f"not-{category}"})


def export_yolo(rows: Sequence[Exported], out: Path, category: str) -> None:
    """YOLO's classification layout: train/CATEGORY/ and val/CATEGORY/; every fifth photo is for validation."""
    names = {"positive": category, "negative": f"not-{category}"}
    ranked = sorted(rows, key=lambda row: row.item)  # by identity: the split does not depend on the order of labels
    _link([row for ix, row in enumerate(ranked) if ix % 5], out / "train", names)
    _link([row for ix, row in enumerate(ranked) if not ix % 5], out / "val", names)


def export_webdataset(rows: Sequence[Exported], out: Path, category: str) -> None:
    """One tar shard: the photo, `.cls` (1 or 0) and `.json` under one key each; labelled photos only."""
    with replacing(out) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            if row.label not in ("positive", "negative"):
                continue
            content = _bytes(row)
            note = {"path": row.place.path, "category": category, "label": row.label, "score": row.score}
            parts = {_suffix(row): content, ".cls": str(int(row.label == "positive")).encode()}
            parts[".json"] = json.dumps(note).encode()
            for suffix, part in parts.items():
                member = tarfile.TarInfo(f"{row.item}{suffix}")
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))


EXPORTS: dict[str, Callable[[Sequence[Exported], Path, str], None]] = {
    "csv": export_csv,
    "coco": export_coco,
    "fiftyone": export_fiftyone,
    "imagefolder": export_folders,
    "yolo-cls": export_yolo,
    "webdataset": export_webdataset,
}


def _link(rows: Sequence[Exported], out: Path, names: dict[str, str]) -> None:
    for row in rows:
        if row.label not in names:
            continue
        target = out / names[row.label] / f"{row.item}{_suffix(row)}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target):
                continue
            if "::" in row.place.path:
                target.write_bytes(_bytes(row))
            else:
                target.symlink_to(row.place.path)
        except OSError as error:
            raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error


def _bytes(row: Exported) -> bytes:
    try:
        return row.place.read()
    except (OSError, tarfile.TarError, KeyError) as error:
        raise SourceError(f"{row.place.path}: cannot be read any more: {error}") from error


def _suffix(row: Exported) -> str:
    suffix = os.path.splitext(row.place.path)[1].lower()
    return suffix if suffix in Image.registered_extensions() or suffix in IMAGE_SUFFIXES else ".jpg"
