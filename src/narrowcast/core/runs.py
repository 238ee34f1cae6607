"""A run is a folder: what was asked (`run.json`), what happened (`reports.jsonl`), what came of it (`summary.json`)."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, final

from narrowcast.core.config import difference
from narrowcast.core.errors import StorageError, UsageError
from narrowcast.core.files import write_json
from narrowcast.core.lines import drop_lines

RUN, REPORTS, SUMMARY, LOCK = "run.json", "reports.jsonl", "summary.json", ".lock"


@final
class RunFolder:
    """An open run folder, held by one process at a time. A report is with the system when `append` ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._reports: int | None = None
        self._writing = threading.Lock()

    @classmethod
    def open(cls, path: Path, run: Mapping[str, Any], *, resume: bool) -> "RunFolder":
        """Open `path` for a run described by `run` (its "config" must be the same as before to go on).

        Raises:
            UsageError: the folder holds a run and `resume` is not given, or a run with other settings, or is in use.
            StorageError: the folder cannot be written.
        """
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder._take_lock()
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            folder._sign(run, resume=resume)
            folder._sweep()
        except BaseException:
            folder.close()
            raise
        return folder

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        for descriptor in (self._reports, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._reports = self._lock = None

    def append(self, report: Mapping[str, Any]) -> None:
        """Add one line to `reports.jsonl`."""
        line = json.dumps(report, allow_nan=False, separators=(",", ":")) + "\n"
        try:
            with self._writing:
                if self._reports is None:
                    self._reports = os.open(self.path / REPORTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                rest = line.encode()
                while rest:  # a disk that is nearly full takes a part first and refuses then
                    rest = rest[os.write(self._reports, rest) :]
        except OSError as error:
            raise StorageError(f"{self.path / REPORTS}: cannot be written: {error.strerror}") from error

    def flush(self) -> None:
        """Bring the reports to the disk itself."""
        with self._writing:
            if self._reports is not None:
                os.fsync(self._reports)

    def drop_reports(self, *, before_frame: int) -> None:
        """Drop the reports of frames before `before_frame`: they are too old. Another thread may append meanwhile."""
        drop_lines(self.path / REPORTS, before_frame=before_frame, lock=self._writing, reopen=self._close_reports)

    def _close_reports(self) -> None:
        if self._reports is not None:
            os.close(self._reports)
            self._reports = None

    def reports(self) -> Iterator[dict[str, Any]]:
        """The lines of `reports.jsonl`; a last line that was cut off is left out."""
        yield from read_reports(self.path)

    def keep_reports(self, *, before_frame: int, key: str = "frame") -> None:
        """Drop the reports of `before_frame` and later, which the checkpoint that is resumed from does not know.

        Reports are numbered by `key`: frames of a stream, steps of a training.

        Raises:
            StorageError: a line before that is damaged.
        """
        path = self.path / REPORTS
        if not path.exists():
            return
        kept = 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") or _number_of(line, path, key) >= before_frame:
                    break
                kept += len(line)
        os.truncate(path, kept)

    def has_reports(self) -> bool:
        """Whether a run in this folder came as far as its first frame."""
        path = self.path / REPORTS
        return path.exists() and path.stat().st_size > 0

    def is_finished(self, *, num_frames: int) -> bool:
        """Whether there is a summary of a finished run of so many frames."""
        try:
            summary = json.loads((self.path / SUMMARY).read_text(encoding="utf-8"))
            return (summary["status"], summary["frames"]) == ("finished", num_frames)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        write_json(self.path / SUMMARY, summary)

    def _sweep(self) -> None:
        """Remove what a kill left half written; checkpoints are large, and nobody would ever ask for these again."""
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(f"{self.path}: another process is writing this run") from None

    def _sign(self, run: Mapping[str, Any], *, resume: bool) -> None:
        path = self.path / RUN
        if path.exists() and self.has_reports():
            if not resume:
                raise UsageError(f"{self.path}: holds a run already; use --resume to go on, or another --out")
            _check_same(_read_run(path).get("config", {}), run["config"], self.path)
            return
        # a run that failed before its first frame has nothing to lose: its command may be mended and given again
        if not path.exists() and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
            raise UsageError(f"{self.path}: is not empty and holds no run; choose another --out")
        write_json(path, run)


def read_reports(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of `reports.jsonl` in `folder`; a last line that was cut off is left out."""
    path = folder / REPORTS
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _read_run(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: damaged, so the run cannot go on; choose another --out ({error})") from error
    return run if isinstance(run, dict) else {}


def _number_of(line: bytes, path: Path, key: str) -> int:
    try:
        return json.loads(line)[key]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: damaged, so the run cannot go on; choose another --out ({error})") from error


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    changed = difference(before, json.loads(json.dumps(now)))
    if changed is not None:
        raise UsageError(f"{where}: the run was started with {changed}; resume with the same settings")
