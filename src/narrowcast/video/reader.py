"""What every kind of source gives: pictures with their times, converted or read only when asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is not in memory as RGB yet.

    Attributes:
        time_s: presentation time in seconds from the first picture of its pass.
        load: gives the RGB image; skipping a picture costs no conversion and no read.
        is_after_gap: the source was away before it, or its clock jumped.
    """

    time_s: Fraction
    load: Callable[[], UInt8[np.ndarray, "h w 3"]]
    is_after_gap: bool = False


@runtime_checkable
class Reader(Protocol):
    """One opened source: a video, a folder of images, a webcam.

    Attributes:
        fps: nominal rate; None where the source does not say.
        num_frames: estimated pictures in one pass; None where nobody knows.
        size_wh: width and height of the first picture as shown, that is, after rotation.
        is_live: the source cannot be read a second time.
        damaged: packets skipped and pictures flagged as corrupt, so far.
        truncated: what happened, where the source ended before its own promise; None while all is well.
    """

    name: str
    fps: Fraction | None
    num_frames: int | None
    size_wh: tuple[int, int]
    is_live: bool
    truncated: str | None

    @property
    def damaged(self) -> int: ...

    def pictures(self) -> Iterator[Picture]:
        """One pass from the first picture to the last, in the order of their times."""
        ...

    def stop(self) -> None:
        """End a wait for a lost camera; may be called while another thread reads."""
        ...

    def close(self) -> None:
        """Give back files and devices; may be called twice."""
        ...
