"""Labelled videos: encoded in a thread with the source's own times, and joined from parts without encoding again."""

import logging
import os
import queue
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast, final

import av
import cv2
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from narrowcast.core.errors import ShapeError, StorageError, UsageError
from narrowcast.video.clock import DEFAULT_FPS
from narrowcast.video.container import frame_rate, open_container, video_stream
from narrowcast.video.output import FORMATS, TIME_BASE, Output, open_output

log = logging.getLogger(__name__)

# In the order of preference; a wheel of PyAV without x264 has one of the others.
ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast"},  # ours: encoding shares the processor with the student
    "libopenh264": {},
    "mpeg4": {},
}
_MAX_WAITING = 4  # images; ours


def pick_encoder() -> str:
    """The name of the best encoder that this build of PyAV has.

    Raises:
        StorageError: it has none.
    """
    for name in ENCODERS:
        try:
            av.Codec(name, "w")
        except ValueError:  # PyAV's UnknownCodecError is one
            continue
        return name
    raise StorageError(f"this build of PyAV has no video encoder (looked for {', '.join(ENCODERS)})")


@final
class VideoWriter:
    """Writes images to a video file, which appears whole when the block ends and not before.

    Args:
        path: `.mp4` or `.mkv`; nothing is made if no image comes.
        fps: nominal rate for the header; the times of the images are what counts.
        crf: quality of x264, 0 (lossless) to 51.
        size_wh: of the video; None takes the first image's. Odd sizes gain one row or column; an image of another size
            is scaled to fit, on black. Parts to be joined must all have the same.

    An error in the block still finishes the file with the images so far.
    """

    def __init__(self, path: Path, *, fps: Fraction, crf: int = 23, size_wh: tuple[int, int] | None = None) -> None:
        if path.suffix.lower() not in FORMATS:
            raise UsageError(f"{path}: a video ends in {' or '.join(FORMATS)}")
        if not 0 <= crf <= 51:
            raise UsageError(f"crf is {crf}; give 0 to 51")
        if fps <= 0:
            raise UsageError(f"fps is {fps}; give more than 0")
        self.path = path
        self._fps, self._crf, self._size_wh = fps, crf, size_wh
        self._waiting: queue.Queue[tuple[np.ndarray, Fraction] | None] = queue.Queue(maxsize=_MAX_WAITING)
        self._error: BaseException | None = None
        self._last_ticks = -1
        self._is_closed = False  # the caller is done; set there
        self._is_finished = False  # the thread knows it; set there
        self._thread = threading.Thread(target=self._work, name=f"write {path.name}", daemon=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            self.close()
        except StorageError as failure:
            if error is None:
                raise
            log.warning("%s", failure)  # the error on its way out is the one to show

    def write(self, image_rgb: UInt8[np.ndarray, "h w 3"], time_s: Fraction) -> None:
        """Hand an image over; do not change it afterwards. Waits while four are waiting already.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
            ShapeError: not an RGB image.
            UsageError: `time_s` is not after that of the image before.
        """
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or not image_rgb.size:
            raise ShapeError(f"expected an image (h, w, 3) of uint8, got {image_rgb.shape} of {image_rgb.dtype}")
        self._raise_error()
        ticks = round(time_s / TIME_BASE)
        if ticks <= self._last_ticks:
            raise UsageError(f"{self.path}: an image at {float(time_s):.4f} s is not after the one before it")
        self._last_ticks = ticks
        if self._thread.ident is None:
            self._thread.start()
        self._waiting.put((image_rgb, time_s))

    def close(self) -> None:
        """Finish the file; may be called twice.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        if not self._is_closed and self._thread.ident is not None:
            self._is_closed = True
            self._waiting.put(None)
            self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        try:
            item = self._next()
            if item is not None:
                self._write_file(item)
        except (FFmpegError, OSError) as error:
            self._fail(StorageError(f"{self.path}: cannot be written: {error.strerror or error}"))
        except BaseException as error:  # belongs to the caller, who would wait for ever otherwise
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        while not self._is_finished:  # the caller may be waiting for room
            self._next()

    def _next(self) -> tuple[np.ndarray, Fraction] | None:
        item = self._waiting.get()
        self._is_finished = item is None
        return item

    def _write_file(self, first: tuple[np.ndarray, Fraction]) -> None:
        with open_output(self.path) as out:
            height, width = first[0].shape[:2]
            size_wh = _even(self._size_wh or (width, height))
            stream = _add_stream(out.container, fps=self._fps, crf=self._crf, size_wh=size_wh)
            to_yuv = VideoReformatter()
            item: tuple[np.ndarray, Fraction] | None = first
            while item is not None:
                frame = _yuv(fit(item[0], size_wh), to_yuv)
                frame.time_base = stream.codec_context.time_base
                frame.pts = round(item[1] / frame.time_base)
                out.mux(stream.encode(frame))
                item = self._next()
            out.mux(stream.encode())


def _add_stream(out: OutputContainer, *, fps: Fraction, crf: int, size_wh: tuple[int, int]) -> VideoStream:
    encoder = pick_encoder()
    options = dict(ENCODERS[encoder])
    if encoder == "libx264":
        options["crf"] = str(crf)
    stream = cast(VideoStream, out.add_stream(encoder, rate=fps.limit_denominator(65535), options=options))
    stream.width, stream.height = size_wh
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, 60_000) if encoder == "mpeg4" else TIME_BASE  # MPEG-4 holds 16 bits
    context.max_b_frames = (
        0  # with them a part's first decode time lies before the last part's end, and parts do not join
    )
    context.gop_size = max(1, round(2 * fps))  # a place to seek to every two seconds
    context.thread_count = min(2, os.cpu_count() or 1)
    context.colorspace, context.color_range = _BT601, int(ColorRange.MPEG)
    if encoder != "libx264":
        stream.bit_rate = round(size_wh[0] * size_wh[1] * float(fps) * 0.15)  # ours: bits a pixel, near x264 at 23
    return stream


_BT601 = 6  # AVCOL_SPC_SMPTE170M, what `_yuv` makes; said in the file, so that no player guesses


def _yuv(image_rgb: np.ndarray, to_yuv: VideoReformatter) -> av.VideoFrame:
    frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image_rgb), "rgb24")
    return to_yuv.reformat(frame, format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)


def _even(size_wh: tuple[int, int]) -> tuple[int, int]:
    width, height = size_wh
    return width + width % 2, height + height % 2


def fit(image_rgb: UInt8[np.ndarray, "h w 3"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image at this size: as it is, with one row or column more, or scaled to fit and centred on black.

    >>> fit(np.ones((3, 5, 3), np.uint8), (6, 4)).min()
    np.uint8(1)
    """
    width, height = size_wh
    down, across = height - image_rgb.shape[0], width - image_rgb.shape[1]
    if down == 0 and across == 0:
        return image_rgb
    if down in (0, 1) and across in (0, 1):
        return cv2.copyMakeBorder(image_rgb, 0, down, 0, across, cv2.BORDER_REPLICATE)
    scale = min(height / image_rgb.shape[0], width / image_rgb.shape[1])
    inner_wh = (max(1, round(image_rgb.shape[1] * scale)), max(1, round(image_rgb.shape[0] * scale)))
    inner = cv2.resize(image_rgb, inner_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def concat(parts: Sequence[Path], path: Path) -> None:
    """Join parts whose times continue from one to the next into one file, packet by packet.

    Raises:
        UsageError: no parts, or a suffix other than .mp4 and .mkv.
        SourceError: a part is missing or not a video.
        StorageError: a part was encoded differently from the first, its times do not continue, or the disk is full.
    """
    if not parts:
        raise UsageError(f"{path}: there are no parts to join")
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a video ends in {' or '.join(FORMATS)}")
    joiner = _Joiner()
    try:
        with open_output(path) as out:
            for part in parts:
                joiner.add(out, part)
    except (FFmpegError, OSError) as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


@final
class _Joiner:
    """Copies the packets of one part after another into one output stream."""

    def __init__(self) -> None:
        self._stream: VideoStream | None = None
        self._shape: tuple[object, ...] = ()
        self._last_s: Fraction | None = None

    def add(self, out: Output, part: Path) -> None:
        with open_container(str(part)) as source:
            origin = video_stream(source, name=str(part))
            context = origin.codec_context
            shape = (context.name, context.width, context.height, context.extradata)
            if self._stream is None:
                self._stream = out.container.add_stream_from_template(origin)
                self._stream.time_base = TIME_BASE
                self._stream.codec_context.framerate = frame_rate(origin) or DEFAULT_FPS  # or Matroska states 30000
                self._shape = shape
            if shape != self._shape:
                raise StorageError(f"{part}: encoded differently from the first part, so the parts cannot be joined")
            self._copy(out, part, origin)

    def _copy(self, out: Output, part: Path, origin: VideoStream) -> None:
        assert self._stream is not None
        for packet in cast(InputContainer, origin.container).demux(origin):
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue  # the flush
            time_s = packet.pts * packet.time_base
            if self._last_s is not None and time_s <= self._last_s:
                raise StorageError(f"{part}: begins at {float(time_s):.3f} s, before the part ahead of it ends")
            self._last_s = time_s
            packet.dts = packet.pts
            packet.stream = self._stream
            out.mux(packet)
