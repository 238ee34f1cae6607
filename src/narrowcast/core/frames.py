"""One frame of a video and one label value, as every room passes them on."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

IGNORE = 255  # a label that is neither learned from nor scored


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame with its true time.

    Attributes:
        index: position in the source, from 0, without gaps.
        time_s: presentation time in seconds from the first frame, exact (variable frame rates stay true).
        image_rgb: RGB, 0-255.
        is_after_gap: the source was away or began another time line before this frame: it may show another scene, and
            nothing of the frames before can be moved to it.
    """

    index: int
    time_s: Fraction
    image_rgb: UInt8[np.ndarray, "h w 3"]
    is_after_gap: bool = False
