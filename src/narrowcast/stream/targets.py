"""What the student learns from a teacher's labels: classes and weights for every pixel (section 2.2.2)."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.frames import IGNORE
from narrowcast.models.teacher import TeacherLabels

OBJECT_WEIGHT = 5  # section 2.2.2: "five times higher than pixels outside boxes"
BOX_DILATION = 0.15  # section 2.2.2: "dilated by 15%"; taken as: sides 15% longer, about the centre
MIN_COMPONENT_PX = 16  # ours: smaller specks of a teacher without instances get no box


def resize_labels(labels: UInt8[np.ndarray, "h w"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """`labels` at another size, by nearest neighbours."""
    if (labels.shape[1], labels.shape[0]) == size_wh:
        return labels
    return cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST)


def component_boxes(labels: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "n 4"]:
    """Boxes (x0, y0, x1, y1) around the connected components of each class, where a teacher gives no instances."""
    found = []
    for class_ix in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:IGNORE]) + 1:
        _, _, stats, _ = cv2.connectedComponentsWithStats((labels == class_ix).astype(np.uint8), connectivity=8)
        found += [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:] if area >= MIN_COMPONENT_PX]
    return np.array(found, np.float32).reshape(-1, 4)


def pixel_weights(labels: UInt8[np.ndarray, "h w"], boxes_xyxy: Float32[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "h w"]:
    """5 inside every dilated box, 1 outside, 0 where the teacher does not know."""
    weights = np.ones_like(labels)
    for x0, y0, x1, y1 in dilate(boxes_xyxy):
        rows = slice(max(0, int(np.floor(y0))), max(0, int(np.ceil(y1))))  # a negative end would count from the end
        columns = slice(max(0, int(np.floor(x0))), max(0, int(np.ceil(x1))))
        weights[rows, columns] = OBJECT_WEIGHT
    weights[labels == IGNORE] = 0
    return weights


def dilate(boxes_xyxy: Float32[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
    """Boxes whose sides are 15% longer, about the same centres.

    >>> dilate(np.array([[10, 10, 30, 50]], np.float32)).tolist()
    [[8.5, 7.0, 31.5, 53.0]]
    """
    margin = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * (BOX_DILATION / 2)
    return np.concatenate([boxes_xyxy[:, :2] - margin, boxes_xyxy[:, 2:] + margin], axis=1).astype(np.float32)


def targets(
    answer: TeacherLabels, size_wh: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """The teacher's answer as labels and pixel weights at the student's size."""
    labels = resize_labels(answer.labels, size_wh)
    if answer.boxes_xyxy is None:
        boxes = component_boxes(labels)
    else:
        height, width = answer.labels.shape
        boxes = answer.boxes_xyxy * np.array([size_wh[0] / width, size_wh[1] / height] * 2, np.float32)
    return labels, pixel_weights(labels, boxes)
