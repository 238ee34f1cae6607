"""Label maps on disk: indexed PNGs whose values are the labels, and run lengths as JSON. Both come back exactly."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, UnidentifiedImageError

from narrowcast.core.errors import ShapeError, SourceError
from narrowcast.core.files import replacing
from narrowcast.video.palette import palette


def write_label_png(path: Path, labels: UInt8[np.ndarray, "h w"]) -> None:
    """Write an 8-bit indexed PNG: the values are the labels, the palette is the one of the overlay.

    Raises:
        ShapeError: not a map of uint8 labels.
        StorageError: the file cannot be written.
    """
    _check(labels)
    image = Image.fromarray(labels)
    image.putpalette(palette(256).tobytes())
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def read_label_png(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The labels in an indexed or 8-bit grey PNG, whatever its palette shows.

    Raises:
        SourceError: missing, damaged, or an image of colours rather than labels.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise SourceError(f"{path}: expected an indexed or 8-bit grey image of labels, got mode {image.mode}")
            return np.array(image).astype(np.uint8, copy=False)
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such label image") from error
    except UnidentifiedImageError as error:
        raise SourceError(f"{path}: not an image that can be read") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise SourceError(f"{path}: the label image cannot be decoded: {error}") from error


def encode_rle(labels: UInt8[np.ndarray, "h w"]) -> dict[str, Any]:
    """Run lengths of every label but 0, ready for `json.dumps`.

    `{"size": [h, w], "order": "column", "segments": [{"label": 2, "counts": [...]}, ...]}`: counts as COCO's
    uncompressed ones, pixels outside and inside in turn, beginning outside, down the first column, then the next;
    `{"size": size, "counts": counts}` of a segment is what pycocotools reads. Segments are in order of label.

    >>> encode_rle(np.array([[0, 2], [2, 2]], np.uint8))["segments"]
    [{'label': 2, 'counts': [1, 3]}]
    """
    _check(labels)
    flat = labels.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    ends = np.append(starts[1:], flat.size)
    run_labels = flat[starts]
    segments = [
        {"label": int(label), "counts": _counts(starts[run_labels == label], ends[run_labels == label], flat.size)}
        for label in np.unique(run_labels)
        if label != 0
    ]
    return {"size": list(labels.shape), "order": "column", "segments": segments}


def _counts(starts: Int[np.ndarray, " runs"], ends: Int[np.ndarray, " runs"], num_pixels: int) -> list[int]:
    """Lengths outside and inside in turn; a last stretch outside is counted only where there is one, as COCO does."""
    bounds = np.column_stack([starts, ends]).ravel()
    counts = np.diff(bounds, prepend=0, append=num_pixels).tolist()
    return counts if counts[-1] else counts[:-1]


def decode_rle(record: dict[str, Any]) -> UInt8[np.ndarray, "h w"]:
    """The labels that `encode_rle` was given.

    Raises:
        SourceError: not such a record, or counts that do not fill the size.
    """
    try:
        (height, width), order = record["size"], record["order"]
        if order not in ("column", "row"):
            raise SourceError(f"run lengths: order is {order!r}; expected 'column' or 'row'")
        flat = np.zeros(height * width, np.uint8)
        for segment in record["segments"]:
            _fill(flat, segment["label"], np.asarray(segment["counts"], np.int64))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SourceError(f"run lengths: not a record of size, order and segments ({error!r})") from error
    return flat.reshape((height, width), order="F" if order == "column" else "C")


def _fill(flat: UInt8[np.ndarray, " pixels"], label: int, counts: Int[np.ndarray, " runs"]) -> None:
    if counts.ndim != 1 or counts.sum() != flat.size or (counts < 0).any():
        raise SourceError(f"run lengths: label {label} counts {counts.sum()} pixels; the image has {flat.size}")
    is_inside = np.arange(counts.size) % 2 == 1
    flat[np.repeat(is_inside, counts)] = label


def _check(labels: np.ndarray) -> None:
    if labels.ndim != 2 or labels.dtype != np.uint8 or not labels.size:
        raise ShapeError(f"expected labels (h, w) of uint8, got {labels.shape} of {labels.dtype}")
