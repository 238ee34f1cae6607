"""What a stream of days leaves on disk: the newest of it, by an option."""

from typing import final

from narrowcast.core.runs import RunFolder
from narrowcast.stream.outputs import Outputs


@final
class Retention:
    """Keeps `keep_s` seconds of a run, and up to as much again: files are written anew only when half can go.

    Args:
        keep_s: of the stream's time; 0 keeps everything.
    """

    def __init__(self, folder: RunFolder, outputs: Outputs, keep_s: float) -> None:
        self._folder, self._outputs, self._keep_s = folder, outputs, keep_s

    def apply(self, now_s: float) -> int | None:
        """Drop what is too old; the first frame that is kept, or None where nothing was dropped.

        May be called in another thread than the one that writes.
        """
        if not self._keep_s:
            return None
        oldest = next(self._folder.reports(), None)
        if oldest is None or now_s - oldest["time_s"] < 2 * self._keep_s:
            return None
        kept = (line["frame"] for line in self._folder.reports() if line["time_s"] >= now_s - self._keep_s)
        first = next(kept, None)
        if first is not None:
            self._outputs.drop(before_frame=first)
            self._folder.drop_reports(before_frame=first)
        return first
