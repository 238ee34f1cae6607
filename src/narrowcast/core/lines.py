"""Files of JSON lines with a `frame` each, to which one thread adds while another shortens them."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from narrowcast.core.errors import StorageError


def drop_lines(
    path: Path, *, before_frame: int, lock: AbstractContextManager[object], reopen: Callable[[], None] = lambda: None
) -> None:
    """Drop the lines of frames before `before_frame` from the front of the file, whole or not at all.

    Args:
        lock: held by whoever adds a line, while it does; here only for the last of the copying.
        reopen: called under the lock when the file has been replaced.
    """
    if not path.exists():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with path.open("rb") as old, temporary.open("wb") as new:
            old.seek(_start_of(path, before_frame))
            shutil.copyfileobj(old, new)
            with lock:
                shutil.copyfileobj(old, new)  # what was added meanwhile
                new.flush()
                os.fsync(new.fileno())
                temporary.replace(path)
                reopen()
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _start_of(path: Path, frame: int) -> int:
    """Where the line of the first frame from `frame` on begins."""
    start = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n") or json.loads(line)["frame"] >= frame:
                break
            start += len(line)
    return start
