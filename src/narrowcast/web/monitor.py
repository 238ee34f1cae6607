"""What a page needs to know of a stream that runs: the newest picture, curves of the last half hour, what happened."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, final

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import UsageError
from narrowcast.core.frames import Frame
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.overlay import overlay

MAX_SECONDS, MAX_EVENTS = 1800, 200  # ours: half an hour of curves
PICTURE_WIDTH, QUALITY = 720, 80
VIEWS = ("labels", "plain", "teacher")
Shown = tuple[Frame, UInt8[np.ndarray, "h w"]]  # a frame and labels of it


@final
class Monitor:
    """An output of a run (`stream.outputs.Output`) that keeps what a page asks for.

    The stream's thread only leaves references here; a picture is drawn when somebody wants to see it, once for all
    who do.

    Args:
        source, classes: for the page's title and legend.
    """

    def __init__(self, *, source: str, classes: Sequence[str]) -> None:
        self.source, self.classes = source, tuple(classes)
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._frame: Shown | None = None
        self._taught: Shown | None = None
        self._report: StreamReport | None = None
        self._seconds: deque[dict[str, Any]] = deque(maxlen=MAX_SECONDS)
        self._events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._counts = {"frames": 0, "dropped": 0, "teacher_frames": 0, "updates": 0, "swaps": 0, "gaps": 0}
        self._drawn: dict[str, tuple[int, bytes]] = {}
        self._began_s = time.monotonic()
        self._is_over = False
        self.num_drawn = 0

    # --- an output: what the stream calls -----------------------------------------------------------------------------

    def write(self, frame: Frame, report: StreamReport) -> None:
        with self._lock:
            self._frame, self._report = (frame, report.labels), report
            if report.teacher_labels is not None:
                self._taught = (frame, report.teacher_labels)
            self._count(report)
            self._note(frame, report)

    def taught(self, frame: Frame, report: StreamReport) -> None:
        with self._lock:
            if report.teacher_labels is not None:
                self._taught = (frame, report.teacher_labels)

    def checkpoint(self) -> None: ...

    def drop(self, before_frame: int) -> None: ...

    def rewind(self, next_frame: int) -> None: ...

    def finish(self) -> None:
        with self._lock:
            self._is_over = True

    def close(self) -> None:
        self.finish()

    def _count(self, report: StreamReport) -> None:
        live, second = report.live, int(time.monotonic() - self._began_s)
        if not self._seconds or self._seconds[-1]["second"] != second:
            self._seconds.append({"second": second, "frames": 0, "dropped": 0, "updates": 0, "latency_ms": 0.0})
        now = self._seconds[-1]
        for counts in (now, self._counts):
            counts["frames"] += 1
            counts["updates"] += report.updates
            counts["dropped"] += 0 if live is None else live.dropped
        now["latency_ms"] = max(now["latency_ms"], report.timings_ms.get("latency", report.timings_ms["student"]))
        now["stride"] = report.stride
        if report.accuracy is not None:
            now["accuracy"] = report.accuracy
        self._counts["teacher_frames"] += report.teacher_ran
        if live is not None:
            self._counts["swaps"] += live.is_swapped
            self._counts["gaps"] += live.is_after_gap

    def _note(self, frame: Frame, report: StreamReport) -> None:
        live = report.live
        if live is not None and live.is_after_gap:
            self._tell(frame, "the source was away, or shows another scene")
        if live is not None and live.dropped:
            self._tell(frame, f"{live.dropped} frames dropped")
        if report.accuracy is not None and report.updates:
            after = "" if report.accuracy_after is None else f", {report.accuracy_after:.0%} after"
            self._tell(frame, f"learned: {report.accuracy:.0%} before{after}, {report.updates} updates")

    def _tell(self, frame: Frame, text: str) -> None:
        number = self._events[-1]["number"] + 1 if self._events else 0
        self._events.append({"number": number, "frame": frame.index, "time_s": float(frame.time_s), "text": text})

    # --- what a page asks for -----------------------------------------------------------------------------------------

    def state(self, *, since: int = -1, event: int = -1) -> dict[str, Any]:
        """Where things stand; of curves and events only what is newer than the page has.

        Args:
            since: the last second of the curves that the page has; that one may have grown, so it comes again.
            event: the number of the last event that it has.
        """
        with self._lock:
            report = self._report
            return {
                "source": self.source,
                "is_over": self._is_over,
                "frame": None if report is None else report.frame,
                "time_s": None if report is None else report.time_s,
                "labels_age": None if report is None or report.live is None else report.live.labels_age,
                "weights_age": None if report is None or report.live is None else report.live.weights_age,
                "counts": dict(self._counts),
                "seconds": [dict(one) for one in self._seconds if one["second"] >= since],
                "events": [dict(one) for one in self._events if one["number"] > event],
            }

    def picture(self, view: str) -> bytes | None:
        """The newest frame as a JPEG; None before the first.

        Args:
            view: "labels" drawn over it, "plain", or the "teacher"'s last frame with its labels.

        Raises:
            UsageError: another view.
        """
        if view not in VIEWS:
            raise UsageError(f"view={view[:20]}: expected {', '.join(VIEWS)}")
        with self._drawing:  # whoever comes meanwhile gets the same picture
            with self._lock:
                shown = self._taught if view == "teacher" else self._frame
            if shown is None:
                return None
            index, jpeg = self._drawn.get(view, (-1, b""))
            if index != shown[0].index:
                jpeg = _jpeg(*shown, has_labels=view != "plain")
                self._drawn[view] = (shown[0].index, jpeg)
                self.num_drawn += 1
            return jpeg


def _jpeg(frame: Frame, labels: UInt8[np.ndarray, "h w"], *, has_labels: bool) -> bytes:
    height, width = frame.image_rgb.shape[:2]
    small_wh = (min(width, PICTURE_WIDTH), max(1, round(height * min(1.0, PICTURE_WIDTH / width))))
    image = cv2.resize(frame.image_rgb, small_wh, interpolation=cv2.INTER_AREA)
    image = overlay(image, labels) if has_labels else image
    is_encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert is_encoded
    return jpeg.tobytes()
