"""One walk through a video: decodes what decodes, counts what does not, and tells how it ended."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import final

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from narrowcast.video.container import scheme_of, video_stream

log = logging.getLogger(__name__)

SHORTFALL_S = (
    1  # ours: a Matroska file may state this much more than its video lasts (sound that goes on, a slow frame)
)
JPEG_END, PADDING = b"\xff\xd9", 64  # bytes; ours: some cameras fill up with zeros


@final
class Passage:
    """The frames of one container, once.

    Attributes:
        num_damaged: packets that did not decode, and frames that the decoder flagged as corrupt, so far.
    """

    def __init__(self, container: InputContainer, *, name: str) -> None:
        self._container = container
        self._name = name
        self._stream = video_stream(container, name=name)
        # Slices, not frames: a frame thread reports another packet's error, adds delay, and can lose frames at the end.
        self._stream.thread_type = "SLICE"
        self.num_damaged = 0
        self._num_packets = 0
        self._end = 0  # of the last packet, in bytes
        self._tail = b""  # of the last packet
        self._num_frames = 0
        self._is_cut = False
        self._error: str | None = None
        self._last_s = Fraction(0)  # stamp of the last frame, as it stands in the file

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that decodes, to the last that the decoder holds."""
        for packet in self._packets():
            if packet.size:  # the flush at the end has none
                self._num_packets += 1
                self._is_cut = packet.is_corrupt
                self._end = (packet.pos or 0) + packet.size
                self._tail = bytes(memoryview(packet)[-PADDING:])
            try:
                frames = packet.decode()
            except FFmpegError as error:
                self._note_damage(f"packet {self._num_packets} cannot be decoded: {error.strerror}")
                self._is_cut = True  # unless a whole one follows
                continue
            for frame in frames:
                self._num_frames += 1
                self._last_s = (frame.pts or 0) * (frame.time_base or 0) or self._last_s
                if frame.is_corrupt:
                    self._note_damage(f"frame {self._num_frames} of this pass is corrupt")
                yield frame

    def _packets(self) -> Iterator[av.Packet]:
        """The packets and the flush; when reading fails, the decoder is flushed all the same."""
        try:
            yield from self._container.demux(self._stream)
        except (FFmpegError, OSError) as error:
            self._error = f"reading failed after {self._num_packets} packets: {error.strerror or error}"
            flush = av.Packet(0)
            flush.stream = self._stream
            yield flush

    def _note_damage(self, what: str) -> None:
        self.num_damaged += 1
        if self.num_damaged & (self.num_damaged - 1) == 0:  # 1, 2, 4, 8: a bad line does not flood the log
            log.warning("%s: %s (%d damaged so far)", self._name, what, self.num_damaged)

    def what_is_missing(self) -> str | None:
        """How the stream broke its promise, or None; asked after the last frame, while the container is open."""
        if self._error is not None:
            return self._error
        promised = self._promised_packets()
        if self._num_packets < promised:
            return f"ends after {self._num_frames} of {promised} frames"
        if self._is_cut or self._has_half_a_frame():
            return f"ends in the middle of a frame, after {self._num_frames}"
        promised_s = _promised_s(self._container, self._stream)
        if promised_s is not None and promised_s - self._last_s > SHORTFALL_S:
            return f"ends at {float(self._last_s):.2f} s of {float(promised_s):.2f} s, after {self._num_frames} frames"
        if (missing := _missing_bytes(self._container)) > 0:
            return f"ends {missing} bytes too early, after {self._num_frames} frames"
        return None

    def _has_half_a_frame(self) -> bool:
        """Whether the last frame of a format without a count or a length is not whole.

        libav drops half a frame of YUV4MPEG unsaid, and, decoding in one thread, draws half a JPEG without an error.
        """
        if self._container.format.name == "mjpeg":
            return not self._tail.rstrip(b"\0").endswith(JPEG_END)
        return self._container.format.name == "yuv4mpegpipe" and self._container.size > self._end

    def _promised_packets(self) -> int:
        """Packets that the header counts, or 0 where it counts none.

        An edit list may hide some in a whole MP4 file; there the index must also point beyond the file's end.
        """
        if "mp4" not in self._container.format.name:
            return self._stream.frames
        end = max((entry.pos + entry.size for entry in self._stream.index_entries), default=0)
        return self._stream.frames if end > self._container.size else 0


def _missing_bytes(container: InputContainer) -> int:
    """How much shorter a Matroska file is than its one segment says, or 0 where it does not say."""
    if "matroska" not in container.format.name or scheme_of(container.name) or not Path(container.name).is_file():
        return 0
    with Path(container.name).open("rb") as file:
        head = file.read(4096)
    header_end = _element_end(head, 0, b"\x1a\x45\xdf\xa3") or len(head)
    segment_end = _element_end(head, header_end, b"\x18\x53\x80\x67")
    return 0 if segment_end is None else segment_end - container.size


def _element_end(head: bytes, start: int, kind: bytes) -> int | None:
    """Where the EBML element of this kind ends (RFC 8794, section 4); None where it is another or of unknown length.

    >>> _element_end(bytes([0xEC, 0x82, 0, 0]), 0, b"\\xec")
    4
    """
    at = start + len(kind)
    if head[start:at] != kind or at >= len(head) or not head[at]:
        return None
    width = 9 - head[at].bit_length()
    length = int.from_bytes(head[at : at + width]) & ((1 << 7 * width) - 1)
    return None if length == (1 << 7 * width) - 1 else at + width + length


def _promised_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """The end that a Matroska file states (others state packets, or libav estimates from what is there)."""
    if "matroska" not in container.format.name:
        return None
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None
