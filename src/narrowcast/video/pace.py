"""A recorded video at its own rate: each frame when its time has come, as a camera would give it."""

import threading
import time
from collections.abc import Iterable, Iterator

from narrowcast.core.frames import Frame


def paced(frames: Iterable[Frame], *, stopping: threading.Event) -> Iterator[Frame]:
    """`frames`, each not before its time; the clock starts at the first. `stopping` ends the waiting and the frames.

    A frame that comes late (decoding took longer, or the reader did not ask) does not move those after it: what was
    missed stays missed, as with a camera.
    """
    began_s: float | None = None
    for frame in frames:
        began_s = time.monotonic() - float(frame.time_s) if began_s is None else began_s
        if stopping.wait(max(0.0, began_s + float(frame.time_s) - time.monotonic())):
            return
        yield frame
