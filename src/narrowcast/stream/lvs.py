"""The layout of Long Video Streams (section 2.3): videos with Mask R-CNN's published predictions of every frame.

`FOLDER/STREAM/NAME.mp4` with `FOLDER/STREAM/detectron_large_mask_rcnn_1_NAME.npy`: a pickled dictionary from a frame's
number to (boxes, classes, scores, masks); boxes as shares of the frame (y0, x0, y1, x1), classes COCO's in their order,
masks as probabilities within their boxes. Written to that format, and tested on small files of it.
"""

import pickle
from pathlib import Path
from typing import Any, final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.errors import SourceError
from narrowcast.models.taxonomy import COCO
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.clips import Clip

PREFIX = "detectron_large_mask_rcnn_1_"
THRESHOLD = 0.5  # of scores and of masks' probabilities
_AUTO, _BIKE = "car+bus+truck=auto", "motorcycle+bicycle=bike"
# What each published stream is about, where it is more than persons.
CLASSES = {
    **dict.fromkeys(
        ("driving1", "walking1", "samui_walking_street1", "samui_murphys1", "southbeach1", "drone1", "biking2"),
        f"person,{_AUTO},{_BIKE}",
    ),
    **dict.fromkeys(("jackson_hole1", "jackson_hole2", "toomer1", "streetcam1", "streetcam2"), f"person,{_AUTO}"),
    "basketball_ego1": "person,car",
    "biking1": f"person,{_BIKE}",
    "birds1": "bird",
    "birds2": "bird",
    "dogs1": "dog",
    "dogs2": f"person,dog,{_AUTO}",
    "elephant1": "elephant",
    "giraffe1": "person,giraffe",
    "horses1": "person,horse",
}
_ALLOWED = {
    (module, name)
    for root in ("numpy.core", "numpy._core")
    for module, name in ((f"{root}.multiarray", "_reconstruct"), (f"{root}.multiarray", "scalar"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


@final
class PublishedDetections:
    """The predictions in one file, as a teacher with boxes; read when they are first needed."""

    classes = COCO

    def __init__(self, path: Path) -> None:
        self._path = path
        self._detections: dict[int, Any] | None = None

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        if self._detections is None:
            self._detections = read_detections(self._path)
        height, width = image_rgb.shape[:2]
        if frame_index not in self._detections:
            raise SourceError(f"{self._path}: has no predictions of frame {frame_index}")
        boxes, classes, scores, masks = self._detections[frame_index]
        boxes_xyxy = np.asarray(boxes, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]] * np.array(
            [width, height] * 2, np.float32
        )
        kept = [ix for ix in np.argsort(scores) if scores[ix] >= THRESHOLD]  # the surest is painted last
        labels = np.zeros((height, width), np.uint8)
        for ix in kept:
            _paint(labels, boxes_xyxy[ix], np.asarray(masks[ix], np.float32), int(classes[ix]))
        return TeacherLabels(labels, boxes_xyxy[kept])


def lvs_clips(folder: Path) -> list[Clip]:
    """A clip for each video that has predictions.

    Raises:
        SourceError: there is none.
    """
    clips = []
    for video in sorted(folder.glob("*/*.mp4")):
        detections = video.with_name(f"{PREFIX}{video.stem}.npy")
        if detections.exists():
            classes = CLASSES.get(video.parent.name, "person")
            clips.append(Clip(video.stem, str(video), None, classes, PublishedDetections(detections)))
    if not clips:
        raise SourceError(f"{folder}: no STREAM/NAME.mp4 with STREAM/{PREFIX}NAME.npy beside it")
    return clips


def read_detections(path: Path) -> dict[int, Any]:
    """The dictionary in a .npy file; nothing but arrays is built, so that no code of the file can run.

    Raises:
        SourceError: missing, damaged, or it holds something else.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            reader(file)
            value = _Arrays(file, encoding="latin1").load().item()
    except (OSError, ValueError, EOFError, pickle.UnpicklingError, AttributeError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: not a file of predictions ({error})") from error
    if not isinstance(value, dict):
        raise SourceError(f"{path}: expected a dictionary from frames to predictions")
    return {int(frame): found for frame, found in value.items()}


class _Arrays(pickle.Unpickler):
    """Builds arrays and plain values only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array")
        return super().find_class(module, name)


def _paint(
    labels: UInt8[np.ndarray, "h w"],
    box_xyxy: Float32[np.ndarray, "4"],
    mask: Float32[np.ndarray, "mh mw"],
    label: int,
) -> None:
    """Set `label` where the mask, stretched over its box, is probable."""
    height, width = labels.shape
    x0, y0 = (max(0, int(edge)) for edge in np.floor(box_xyxy[:2]))
    x1, y1 = min(width, int(np.ceil(box_xyxy[2]))), min(height, int(np.ceil(box_xyxy[3])))
    if x1 > x0 and y1 > y0:
        inside = cv2.resize(mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR) >= THRESHOLD
        labels[y0:y1, x0:x1][inside] = label
