"""`events.jsonl` of a live run: what happened to the stream, a line each."""

import json
import time
from pathlib import Path
from typing import Any, final

from narrowcast.core.errors import StorageError
from narrowcast.core.frames import Frame

EVENTS = "events.jsonl"


@final
class EventLog:
    """Lines with `frame`, `time_s` and `event`, in the order of frames; a line is with the system when `add` ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / EVENTS

    def add(self, frame: Frame, event: str, **details: Any) -> dict[str, Any]:
        """Write what happened at `frame`; the line."""
        line = {"frame": frame.index, "time_s": round(float(frame.time_s), 6), "unix_s": round(time.time(), 3)}
        line |= {"event": event} | details
        try:
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error
        return line

    def rewind(self, next_frame: int) -> None:
        """Forget what happened at `next_frame` and later."""
        if not self.path.exists():
            return
        kept = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") or json.loads(line)["frame"] >= next_frame:
                    break
                kept += len(line)
        with self.path.open("r+b") as file:
            file.truncate(kept)
