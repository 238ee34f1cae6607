"""Frames from anything: a file, a folder of images, a pattern, an address, a webcam."""

import glob
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import final

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.frames import Frame
from narrowcast.video.clock import DEFAULT_FPS
from narrowcast.video.container import NETWORK_SCHEMES, scheme_of
from narrowcast.video.decode import open_video
from narrowcast.video.images import SUFFIXES, ImageReader, list_folder, list_glob
from narrowcast.video.patience import SHORT, Patience
from narrowcast.video.reader import Picture, Reader
from narrowcast.video.webcam import camera_number, open_webcam


def open_source(
    spec: str | Path,
    *,
    start_index: int = 0,
    max_frames: int | None = None,
    loops: int = 1,
    fps: Fraction | None = None,
    patience: Patience = SHORT,
) -> "FrameSource":
    """The frames of `spec`, one after another, with their true times.

    Args:
        spec: a video file, a folder of images, a pattern (`"frames/*.jpg"`), an image, `http(s)://`, `rtsp(s)://`,
            `webcam:0` or `/dev/video0`.
        start_index: the frame to begin with. Those before it are decoded but not converted; a live source, which
            cannot be rewound, begins at once and calls its first frame `start_index`.
        max_frames: give this many frames and stop; None for all.
        loops: play a file or folder this many times; index and time go on from one pass to the next.
        fps: frames a second of images, which have no times of their own; 25 unless given.
        patience: how a camera that has gone is waited for.

    Raises:
        SourceError: the source is missing, empty, unreachable, or nothing in it can be decoded.
        UsageError: an option is out of range or has no effect on this source.

    Example:
        with open_source("city.mp4") as source:
            for frame in source:
                print(frame.index, float(frame.time_s), frame.image_rgb.shape)
    """
    if start_index < 0:
        raise UsageError(f"start_index is {start_index}; it counts frames from 0")
    if max_frames is not None and max_frames < 0:
        raise UsageError(f"max_frames is {max_frames}; it cannot be negative")
    if not str(spec):
        raise SourceError("the source has no name; give a video, a folder of images, a pattern or an address")
    if loops < 1:
        raise UsageError(f"loops is {loops}; give 1 or more")
    if fps is not None and fps <= 0:
        raise UsageError(f"fps is {fps}; give more than 0")
    reader = _open_reader(str(spec), fps=fps, patience=patience)
    if loops > 1 and reader.is_live:
        reader.close()
        raise UsageError(f"{reader.name}: loops has no effect on a live source; remove it")
    return FrameSource(reader, start_index=start_index, max_frames=max_frames, loops=loops)


def _open_reader(spec: str, *, fps: Fraction | None, patience: Patience) -> Reader:
    images = _images_of(spec)
    if images is not None:
        return ImageReader(images, name=spec, fps=fps or DEFAULT_FPS)
    if fps is not None:
        raise UsageError(f"{spec}: fps has no effect on a source with times of its own; remove it")
    number = camera_number(spec)
    if number is not None:
        return open_webcam(number, patience=patience)
    scheme = scheme_of(spec)
    if scheme and scheme not in NETWORK_SCHEMES:
        raise SourceError(f"{spec}: {scheme}:// is not known; use one of {', '.join(NETWORK_SCHEMES)}")
    return open_video(spec, patience=patience)


def _images_of(spec: str) -> list[Path] | None:
    """The images that a path or pattern stands for, or None where it stands for something else."""
    path = Path(spec)
    if scheme_of(spec):
        return None
    if path.is_dir():
        return list_folder(path)
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else None
    return list_glob(spec) if glob.has_magic(spec) else None


@final
class FrameSource:
    """An open source: iterate it once, and close it (or use `with`).

    Attributes:
        name: the source as given, without a password.
        fps: nominal frames a second; None where the source does not say.
        num_frames: estimate of the index after the last frame, loops and `max_frames` counted; None for a camera.
        size_wh: of the first frame, after rotation; later frames may differ.
        is_live: cannot be rewound.
    """

    def __init__(self, reader: Reader, *, start_index: int = 0, max_frames: int | None = None, loops: int = 1) -> None:
        self.name = reader.name
        self.fps = reader.fps
        self.size_wh = reader.size_wh
        self.is_live = reader.is_live
        self.num_frames = _end_index(reader, start_index, max_frames, loops)
        self._reader = reader
        self._frames = self._read(start_index, None if max_frames is None else start_index + max_frames, loops)

    @property
    def damaged(self) -> int:
        """Packets skipped and frames flagged as corrupt, so far."""
        return self._reader.damaged

    @property
    def truncated(self) -> str | None:
        """What happened, if the source ended before its own promise; None while all is well."""
        return self._reader.truncated

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> "FrameSource":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def stop(self) -> None:
        """End the waiting for a lost camera; may be called while a thread reads."""
        self._reader.stop()

    def close(self) -> None:
        """Give back files, connections and devices; a source that a thread still reads is closed after that thread."""
        self._frames.close()
        self._reader.close()

    def _read(self, start_index: int, stop_index: int | None, loops: int):
        index = start_index if self.is_live else 0
        if stop_index is not None and stop_index <= start_index:
            return
        for time_s, picture in self._passes(loops, begin_s=index / (self.fps or DEFAULT_FPS)):
            if index == stop_index:
                return
            if index >= start_index:
                yield Frame(index=index, time_s=time_s, image_rgb=picture.load(), is_after_gap=picture.is_after_gap)
            index += 1
            if index == stop_index:
                return  # before the next picture is decoded: a camera may never send one

    def _passes(self, loops: int, *, begin_s: Fraction) -> Iterator[tuple[Fraction, Picture]]:
        period_s = 1 / (self.fps or DEFAULT_FPS)
        for _ in range(loops):
            time_s = begin_s
            for picture in self._reader.pictures():
                time_s = begin_s + picture.time_s
                yield time_s, picture
            begin_s = time_s + period_s


def _end_index(reader: Reader, start_index: int, max_frames: int | None, loops: int) -> int | None:
    counted = None if reader.num_frames is None or reader.is_live else reader.num_frames * loops
    asked = None if max_frames is None else start_index + max_frames
    return min((end for end in (counted, asked) if end is not None), default=None)
