"""Opening a video file or address with PyAV, and every way in which that fails as one line.

libav's own messages stay silent: PyAV turns them off when it is imported, and nothing here turns them on.
"""

import errno
import re
import time
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.stream import VideoStream

from narrowcast.core.errors import SourceError

PROBE_S = 5.0  # libav's own: of a stream, to see what is in it
TIMEOUT_S = 10.0  # ours: for an answer, and again for each read
MAX_FPS = 1000  # ours: a rate above is a time base that a file without a rate let through
_NETWORK_OPTIONS: dict[str, dict[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp"},  # over UDP a lost packet smears the picture
    "rtsps": {"rtsp_transport": "tcp"},
    "http": {},
    "https": {},
}
NETWORK_SCHEMES = tuple(_NETWORK_OPTIONS)
_TEXT_FORMATS = {"tty"}  # libav would draw a text file as a video of letters


def scheme_of(spec: str) -> str:
    """The scheme of an address in lower case, or the empty string for a path.

    >>> scheme_of("RTSP://camera/1"), scheme_of("a/b.mp4"), scheme_of("C:/clip.mp4")
    ('rtsp', '', '')
    """
    head, separator, _ = spec.partition("://")
    return head.lower() if separator else ""


def without_password(spec: str) -> str:
    """The address without its user and password, for messages and for `run.json`.

    >>> without_password("rtsp://admin:hunter2@10.0.0.7/main")
    'rtsp://10.0.0.7/main'
    """
    return re.sub(r"://[^/@]*@", "://", spec)


def open_container(spec: str, *, timeout_s: float = TIMEOUT_S, probe_s: float = PROBE_S) -> InputContainer:
    """The opened container of a file or address.

    Raises:
        SourceError: it is missing, empty, unreachable or not a video.
    """
    scheme, name = scheme_of(spec), without_password(spec)
    if not scheme:
        _check_file(Path(spec))
    began_s = time.monotonic()
    try:
        if not scheme:
            return av.open(spec)
        limits = {"timeout": timeout_s, "analyzeduration": probe_s}
        options = _NETWORK_OPTIONS[scheme] | {name: str(int(limit_s * 1e6)) for name, limit_s in limits.items()}
        return av.open(spec, options=options, timeout=timeout_s)
    except (FFmpegError, OSError) as error:
        # An interrupted wait is reported as whatever was being done; the clock knows better.
        is_late = scheme != "" and time.monotonic() - began_s >= timeout_s
        why = f"no answer within {timeout_s:g} s" if is_late else _why(error, is_file=not scheme)
        raise SourceError(f"{name}: {why}") from error


def _why(error: Exception, *, is_file: bool) -> str:
    if isinstance(error, (InvalidDataError, EOFError)):
        return "not a video that can be read, or cut off before its index"
    if is_file and getattr(error, "errno", None) in (errno.EBUSY, errno.EINVAL):  # libav's, for a header without sense
        return "not a video that can be read: its header makes no sense (a picture size of 0x0?)"
    return f"cannot be opened: {getattr(error, 'strerror', None) or error}"


def _check_file(path: Path) -> None:
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty")


def video_stream(container: InputContainer, *, name: str) -> VideoStream:
    """The first stream of moving pictures; the cover of an audio file is not one.

    Raises:
        SourceError: there is none.
    """
    if container.format.name in _TEXT_FORMATS:
        raise SourceError(f"{name}: not a video but a text file")
    covers = Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise SourceError(f"{name}: has no video, only {' and '.join(kinds) or 'nothing'}")
    return streams[0]


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Frames a second as the file states or libav estimates; None where neither is a rate that a camera has."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None and 0 < rate <= MAX_FPS:
            return rate
    return None
