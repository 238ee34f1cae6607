"""A file is whole or absent, whatever happens while it is written."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from narrowcast.core.errors import StorageError
from narrowcast.core.files import replacing, write_bytes, write_json, write_text

WRITERS: list[Callable[[Path], None]] = [
    pytest.param(lambda path: write_text(path, "new" * 50_000), id="text"),
    pytest.param(lambda path: write_bytes(path, b"new" * 50_000), id="bytes"),
    pytest.param(lambda path: write_json(path, ["new"] * 50_000), id="json"),
]


@contextmanager
def full_disk(limit_bytes: int = 4096) -> Iterator[None]:
    """Files cannot grow past the limit: the system refuses to write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "summary.json"
    path.write_text("old")
    with full_disk(), pytest.raises(StorageError, match=r"summary.json: cannot be written: File too large"):
        write(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["summary.json"]


def test_no_space_left_is_said_as_the_system_says_it(tmp_path: Path) -> None:
    def fill(temporary: Path) -> None:
        temporary.touch()
        Path("/dev/full").write_text("x")

    with pytest.raises(StorageError, match="No space left on device"), replacing(tmp_path / "a") as temporary:
        fill(temporary)
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_caller_passes_through_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = f"""
import os, signal
from pathlib import Path
from narrowcast.core.files import replacing
with replacing(Path({str(path)!r})) as temporary:
    temporary.write_text("half of the n")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode < 0
    assert path.read_text() == "old"


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "é")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "é".encode()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        pytest.param("file/below.txt", "Not a directory|File exists", id="a file where the folder should be"),
        pytest.param("folder", "Is a directory", id="a folder of that name"),
        pytest.param("n" * 300, "File name too long", id="a name that no file can have"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=f"cannot be written: ({said})") as caught:
        write_text(tmp_path / place, "x")
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=os.strerror(errno.EACCES)):
        write_text(tmp_path / "a.txt", "x")


def test_json_is_standard_json(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"miou": 0.5, "classes": ["été"]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"miou": 0.5, "classes": ["été"]}
    with pytest.raises(ValueError):
        write_json(path, {"miou": math.nan})
    assert json.loads(path.read_text(encoding="utf-8"))["miou"] == 0.5
