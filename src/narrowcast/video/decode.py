"""Video files and network streams, decoded with PyAV: true times, rotation, sizes that change, damage survived."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from itertools import chain
from typing import final

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from narrowcast.core.errors import SourceError
from narrowcast.video.clock import DEFAULT_FPS, Clock
from narrowcast.video.container import frame_rate, open_container, scheme_of, video_stream, without_password
from narrowcast.video.passage import Passage
from narrowcast.video.patience import SHORT, Patience
from narrowcast.video.reader import Picture

log = logging.getLogger(__name__)


def open_video(spec: str, *, patience: Patience = SHORT) -> "VideoReader":
    """A reader of a video file, http(s) or rtsp address, its first picture decoded.

    Raises:
        SourceError: missing, empty, unreachable, not a video, audio only, of size 0 x 0, or nothing in it decodes.
    """
    scheme = scheme_of(spec)
    reader = VideoReader(
        lambda: open_container(spec, timeout_s=patience.timeout_s, probe_s=patience.probe_s),
        name=without_password(spec),
        is_endless=scheme in ("rtsp", "rtsps"),
        patience=patience,
    )
    return reader.open()


@final
class VideoReader:
    """The pictures of one video (the attributes are those of `Reader`), after `open`.

    Args:
        opener: opens the container; called again for another pass, and after a lost connection.
        is_endless: a camera, which does not end: an end is a lost connection, and is mended by connecting again.
        patience: how a lost connection is mended.
    """

    def __init__(
        self,
        opener: Callable[[], InputContainer],
        *,
        name: str,
        is_endless: bool = False,
        patience: Patience = SHORT,
    ) -> None:
        self.name = name
        self.fps: Fraction | None = None
        self.num_frames: int | None = None
        self.size_wh: tuple[int, int] = (0, 0)
        self.is_live = is_endless
        self.truncated: str | None = None
        self.reconnects = 0
        self._opener, self._is_endless, self._patience = opener, is_endless, patience
        self._container: InputContainer | None = None
        self._passage: Passage | None = None
        self._damaged_before = 0
        self._begun: Iterator[Picture] | None = None
        self._waits_s, self._attempts = patience.waits_s(), 0  # since the last frame
        self._is_after_gap = False  # the next picture is
        self._last_seen_s = time.monotonic()
        self._closing = threading.Event()
        self._to_rgb = VideoReformatter()
        self._rotation: int | None = None  # of the last frame; None before the first
        self._matrix: np.ndarray | None = None

    @property
    def damaged(self) -> int:
        """Packets that did not decode, and frames that the decoder flagged as corrupt, so far."""
        return self._damaged_before + (self._passage.num_damaged if self._passage else 0)

    def open(self) -> "VideoReader":
        """Open the container and decode the first picture.

        Raises:
            SourceError: see `open_video`.
        """
        self._container = self._opener()
        try:
            self._look_at(self._container)
        except BaseException:
            self.close()
            raise
        return self

    def pictures(self) -> Iterator[Picture]:
        """One pass; the first continues the one in which the first picture was decoded."""
        begun, self._begun = self._begun, None
        return begun or self._pass(self._opener())

    def stop(self) -> None:
        """End a wait for a lost camera; may be called while another thread reads."""
        self._closing.set()

    def close(self) -> None:
        """Close the container, and end a wait for a lost camera."""
        self.stop()
        if self._container is not None:
            self._container.close()

    def _look_at(self, container: InputContainer) -> None:
        stream = video_stream(container, name=self.name)
        self.fps = frame_rate(stream)
        self.num_frames = _count(container, stream, self.fps)
        is_address = scheme_of(container.name) != ""
        self.is_live = self._is_endless or (is_address and container.duration is None)
        self._is_endless = self._is_endless or (self.is_live and self._patience.expects_no_end)
        rest = self._pass(container)
        first = next(rest, None)
        if first is None:
            raise SourceError(f"{self.name}: {self._why_empty(stream)}")
        height, width = first.load().shape[:2]
        self.size_wh = (width, height)
        self._begun = chain([first], rest)

    def _why_empty(self, stream: VideoStream) -> str:
        width, height = stream.width, stream.height
        if not width or not height:
            return f"the picture size is {width}x{height}"
        return f"none of its {self.damaged} packets can be decoded" if self.damaged else "has no frames"

    def _pass(self, container: InputContainer | None) -> Iterator[Picture]:
        clock = Clock(period_s=1 / (self.fps or DEFAULT_FPS))
        while container is not None:
            self._container = container
            lost = yield from self._walk(container, clock)
            container = self._after(lost, clock)

    def _walk(self, container: InputContainer, clock: Clock) -> Generator[Picture, None, str | None]:
        """The pictures of one container; returns what is missing at its end, asked while it is open."""
        self._damaged_before = self.damaged
        self._passage = passage = Passage(container, name=self.name)
        try:
            for frame in passage.frames():
                now_s = time.monotonic()
                waited_s, self._last_seen_s = now_s - self._last_seen_s, now_s
                self._waits_s, self._attempts = self._patience.waits_s(), 0
                stamp_s = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
                time_s = clock.time_of(stamp_s, waited_s=waited_s if self.is_live else None)
                is_after_gap, self._is_after_gap = self._is_after_gap or clock.has_jumped, False
                yield Picture(time_s, lambda frame=frame: self._rgb(frame), is_after_gap)
            return passage.what_is_missing()
        finally:
            container.close()

    def _after(self, lost: str | None, clock: Clock) -> InputContainer | None:
        """The container to go on with when one has ended, or None: a file's end, or a camera that stays away."""
        if lost is None and not self._is_endless:
            return None
        container = self._reconnected() if self.is_live else None
        if container is not None:
            clock.restart(gap_s=Fraction(time.monotonic() - self._last_seen_s).limit_denominator(1000))
            self._is_after_gap = True
        elif not self._closing.is_set():
            self.truncated = lost or "the camera stopped sending"
            log.warning("%s: %s; the frames before that are used", self.name, self.truncated)
        return container

    def _reconnected(self) -> InputContainer | None:
        """A new connection, or None after too many attempts or when this reader is being closed."""
        for wait_s in self._waits_s:
            self._attempts += 1
            level = logging.WARNING if self._attempts & (self._attempts - 1) == 0 else logging.DEBUG  # 1, 2, 4, 8, ...
            log.log(level, "%s: connection lost; connecting again in %g s", self.name, wait_s)
            if self._closing.wait(wait_s):
                return None
            try:
                container = self._connected()
            except SourceError as error:
                log.log(level, "%s", error)
                continue
            self.reconnects += 1
            return container
        return None

    def _connected(self) -> InputContainer:
        container = self._opener()
        try:
            video_stream(container, name=self.name)
        except SourceError:
            container.close()
            raise
        return container

    def _rgb(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        try:
            image_rgb = self._to_rgb.reformat(frame, format="rgb24").to_ndarray()
        except FFmpegError as error:
            raise SourceError(f"{self.name}: pixels of format {frame.format.name} cannot be converted") from error
        matrix = self._matrix_of(frame)
        return image_rgb if matrix is None else oriented(image_rgb, matrix)

    def _matrix_of(self, frame: av.VideoFrame) -> np.ndarray | None:
        """The display matrix, looked up at the first frame and when the angle changes.

        Not at every frame: PyAV's `side_data` and its frame refer to each other, so that each frame whose side data was
        asked for would stay in memory until the garbage collector comes by.
        """
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            matrix = frame.side_data.get("DISPLAYMATRIX")
            self._matrix = None if matrix is None else np.frombuffer(bytes(matrix), np.int32)
        return self._matrix


def _count(container: InputContainer, stream: VideoStream, fps: Fraction | None) -> int | None:
    """Frames in one pass as the header counts them, or duration times rate; None where it says neither."""
    if stream.frames:
        return stream.frames
    if fps is None or container.duration is None:
        return None
    return round(Fraction(container.duration, av.time_base) * fps)


def oriented(image_rgb: UInt8[np.ndarray, "h w 3"], matrix: np.ndarray) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image as it is meant to be shown, by a file's display matrix (ISO 14496-12, 8.5.2: a b u, c d v, x y w).

    Quarter turns and mirrors are followed; any other angle is taken to the nearest of them.

    >>> quarter = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])  # a phone held upright: turn clockwise
    >>> oriented(np.zeros((2, 4, 3), np.uint8), quarter).shape
    (4, 2, 3)
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    is_turned = abs(b) > abs(a)
    across, down = (c, b) if is_turned else (a, d)
    if is_turned:
        image_rgb = cv2.transpose(image_rgb)
    if across < 0 and down < 0:
        return cv2.flip(image_rgb, -1)
    if across < 0:
        return cv2.flip(image_rgb, 1)
    return cv2.flip(image_rgb, 0) if down < 0 else image_rgb
