"""A teacher whose answers are kept by the pixels of what it is asked, and who takes its time: `kept_teacher:label`.

The file that NARROWCAST_KEPT names has a folder of label PNGs, named by `key_of` the image, and `busy_s`: so long it
keeps a core busy, as the teacher that made the labels did.
"""

import json
import os
import time
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from narrowcast.models.taxonomy import VOC

CLASSES = VOC


def label(image_rgb: np.ndarray) -> np.ndarray:
    """The labels of an image that is known."""
    ends = time.thread_time() + _kept()["busy_s"]
    path = Path(_kept()["folder"]) / f"{key_of(image_rgb)}.png"
    labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if labels is None:
        raise ValueError(f"{path}: no labels of this image")
    while time.thread_time() < ends:
        pass
    return labels


def key_of(image_rgb: np.ndarray) -> str:
    """A name by the image's pixels."""
    return f"{zlib.crc32(np.ascontiguousarray(image_rgb)):08x}"


@cache
def _kept() -> dict[str, Any]:
    return json.loads(Path(os.environ["NARROWCAST_KEPT"]).read_text(encoding="utf-8"))
