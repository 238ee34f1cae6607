"""Video files being written: whole or absent, and with every failure of the disk heard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, final

import av
from av.container import OutputContainer

from narrowcast.core.files import replacing

TIME_BASE = Fraction(1, 90_000)  # s; exact at 24, 25, 30, 60 and 30000/1001 frames a second; Matroska has 1/1000
FORMATS = {".mp4": "mp4", ".mkv": "matroska"}


@final
class OutputFile:
    """The file under a container: it remembers the first failure, which libav forgets or calls a callback's.

    What comes after a failure is thrown away in silence, so that libav ends in good order.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        """Bytes written, or thrown away."""
        return self._tried(lambda: self._file.write(content), default=len(content))

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position; what is buffered is written first."""
        return self._tried(lambda: self._file.seek(offset, whence), default=0)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file whatever happened; what cannot be flushed is a failure too."""
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error

    def _tried(self, do: Callable[[], int], *, default: int) -> int:
        if self.error is None:
            try:
                return do()
            except OSError as error:
                self.error = error
        return default


@final
class Output:
    """An output container whose `mux` raises what went wrong with its file."""

    def __init__(self, container: OutputContainer, file: OutputFile) -> None:
        self.container = container
        self._file = file

    def mux(self, packets: av.Packet | list[av.Packet]) -> None:
        """Write packets; raises OSError where the file cannot take them."""
        self.container.mux(packets)
        if self._file.error is not None:
            raise self._file.error


@contextmanager
def open_output(path: Path) -> Iterator[Output]:
    """A container that becomes `path` when the block ends well.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    form = FORMATS[path.suffix.lower()]
    # MP4 keeps the time of a part's first image in a second scale, of milliseconds unless told otherwise.
    options = {"movie_timescale": str(TIME_BASE.denominator)} if form == "mp4" else {}
    with replacing(path) as temporary:
        file = OutputFile(temporary.open("wb"))
        try:
            with av.open(file, "w", format=form, buffer_size=1 << 20, options=options) as out:
                yield Output(out, file)
        finally:
            file.close()
        if file.error is not None:
            raise file.error
