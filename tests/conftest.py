"""What all tests share: shapes checked at run time, seeds, one thread, and the folder of real data."""

import os
from collections.abc import Callable
from pathlib import Path

import typechecking

typechecking.install()  # before the rest of narrowcast is imported

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from narrowcast.stream import allowance  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("NARROWCAST_DATA") or REPOSITORY.parent / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the tests' tensors are small: a second thread costs more than it brings


@pytest.fixture(autouse=True)
def _no_thread_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "YIELD", 0)  # tests keep all processors busy, and it would never have its turn


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests belong to."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_file() -> Callable[[str], Path]:
    """`shared_file("clips/vtest.avi")` is that file of the data folder, or skips the test, naming the file."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"needs {path} (NARROWCAST_DATA names the folder)")
        return path

    return find


@pytest.fixture(scope="session")
def shared_archive(shared_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`shared_archive("davis2016.tar", "*/blackswan/*")` is a folder with those members, unpacked once a session."""
    import tarfile
    from fnmatch import fnmatch

    unpacked: dict[tuple[str, str], Path] = {}

    def unpack(name: str, pattern: str = "*") -> Path:
        if (name, pattern) not in unpacked:
            folder = tmp_path_factory.mktemp(Path(name).stem)
            with tarfile.open(shared_file(name)) as archive:
                members = [member for member in archive if fnmatch(member.name, pattern)]
                archive.extractall(folder, members=members, filter="data")
            unpacked[name, pattern] = folder
        return unpacked[name, pattern]

    return unpack
