"""Webcams: Video4Linux through PyAV, and OpenCV where that does not open."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import final

import av
import cv2
from av.container import InputContainer
from av.error import FFmpegError

from narrowcast.core.errors import SourceError
from narrowcast.video.clock import DEFAULT_FPS, Clock
from narrowcast.video.decode import VideoReader
from narrowcast.video.patience import SHORT, Patience
from narrowcast.video.reader import Picture, Reader

log = logging.getLogger(__name__)


def camera_number(spec: str) -> int | None:
    """The number of the camera in `webcam:0` or `/dev/video0`, or None for any other source.

    >>> camera_number("webcam:2"), camera_number("/dev/video0"), camera_number("webcam.mp4")
    (2, 0, None)
    """
    found = re.fullmatch(r"(?:webcam:|/dev/video)(\d+)", spec)
    return int(found[1]) if found else None


def open_webcam(number: int, *, patience: Patience = SHORT) -> Reader:
    """A reader of the camera with this number.

    Raises:
        SourceError: there is no such camera, or another program holds it.
    """
    name, device = f"webcam:{number}", Path(f"/dev/video{number}")
    if device.exists():
        try:
            return VideoReader(lambda: _open_v4l2(device), name=name, is_endless=True, patience=patience).open()
        except SourceError as error:
            log.warning("%s: not opened by libav (%s); trying OpenCV", name, error)
    elif Path("/dev").is_dir():
        raise SourceError(f"{name}: no such camera ({device} does not exist)")
    return CaptureReader(lambda: cv2.VideoCapture(number), name=name, patience=patience)


def _open_v4l2(device: Path) -> InputContainer:
    try:
        return av.open(str(device), format="v4l2")
    except (FFmpegError, OSError, ValueError) as error:  # ValueError: a build of libav without Video4Linux
        raise SourceError(f"{device}: cannot be opened: {error}") from error


@final
class CaptureReader:
    """The pictures of an OpenCV capture, stamped when they arrive (the attributes are those of `Reader`).

    Args:
        opener: opens the camera; called again when it has gone.
    """

    def __init__(self, opener: Callable[[], cv2.VideoCapture], *, name: str, patience: Patience = SHORT) -> None:
        self.name = name
        self.num_frames: int | None = None
        self.is_live = True
        self.damaged = 0
        self.truncated: str | None = None
        self._opener, self._patience, self._closing = opener, patience, threading.Event()
        self._waits_s = patience.waits_s()  # since the last picture
        self._capture = capture = opener()
        rate = capture.get(cv2.CAP_PROP_FPS) if capture.isOpened() else 0.0
        self.fps: Fraction | None = Fraction(rate).limit_denominator(1001) if 0 < rate < 1000 else None
        rest = self._pass()
        first = next(rest, None)
        if first is None:
            capture.release()
            raise SourceError(f"{name}: the camera gives no picture (is another program using it?)")
        height, width = first.load().shape[:2]
        self.size_wh = (width, height)
        self._pictures = chain([first], rest)

    def pictures(self) -> Iterator[Picture]:
        """The one pass that a camera has."""
        return self._pictures

    def stop(self) -> None:
        """End the wait for a camera that has gone; one that hangs cannot be told so."""
        self._closing.set()

    def close(self) -> None:
        """Give the camera back."""
        self.stop()
        self._capture.release()

    def _pass(self) -> Iterator[Picture]:
        clock = Clock(period_s=1 / (self.fps or DEFAULT_FPS))
        is_after_gap = False
        while self._capture.isOpened():
            is_read, image_bgr = self._capture.read()
            if not is_read:
                if clock.last_s is not None and self._is_back():
                    is_after_gap = True
                    continue
                self.truncated = None if self._closing.is_set() else "the camera stopped sending"
                return
            time_s = clock.time_of(Fraction(time.monotonic_ns() // 1000, 10**6))
            yield Picture(time_s, lambda image=image_bgr: cv2.cvtColor(image, cv2.COLOR_BGR2RGB), is_after_gap)
            is_after_gap, self._waits_s = False, self._patience.waits_s()

    def _is_back(self) -> bool:
        """Wait for the camera; False where it stays away or nobody wants it any more."""
        self._capture.release()
        for wait_s in self._waits_s:
            log.warning("%s: the camera stopped sending; opening it again in %g s", self.name, wait_s)
            if self._closing.wait(wait_s):
                return False
            self._capture = self._opener()
            if self._capture.isOpened():
                return True
        return False
