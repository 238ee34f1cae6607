"""The contract of a teacher: expensive, and taken to be right."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.frames import IGNORE as IGNORE


@dataclass(frozen=True, slots=True)
class TeacherLabels:
    """What a teacher says of one image.

    Attributes:
        labels: for each pixel an index into the teacher's `classes`; 255 where the teacher does not know.
        boxes_xyxy: one row an instance, in pixels, or None where the teacher has no notion of instances.
    """

    labels: UInt8[np.ndarray, "h w"]
    boxes_xyxy: Float32[np.ndarray, "n 4"] | None = None


class Teacher(Protocol):
    """Anything that labels an image: a network, a file of weights, masks on disk, a function.

    Attributes:
        classes: names; index 0 is the background.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        """Label `image_rgb` at its own size; `frame_index` is its position in the stream, for masks kept on disk."""
        ...
