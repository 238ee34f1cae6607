"""The command line in this process: what it prints and exits with; a tiny clip, and a teacher that knows it."""

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from narrowcast.cli import main
from narrowcast.stream import run as run_module
from narrowcast.video.synth import moving_shapes
from narrowcast.video.writer import VideoWriter

NUM = 24
TEACHERS = '''
"""Teachers by colour, good and bad."""
import time
import numpy as np

CLASSES = ("background", "red", "green", "blue")

def colours(image_rgb):
    is_strong = image_rgb.max(axis=2).astype(int) - image_rgb.min(axis=2) >= 60
    return np.where(is_strong, image_rgb.argmax(axis=2) + 1, 0).astype(np.uint8)

def slow(image_rgb):
    time.sleep(0.1)
    return colours(image_rgb)

def raises(image_rgb): raise ValueError("two\\nlines")
def leaves(image_rgb): raise SystemExit(3)
def nothing(image_rgb): return None
def ragged(image_rgb): return [[1], [2, 3]]
def seven(image_rgb): return np.full(image_rgb.shape[:2], 7)
'''


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that tells what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        assert self.err.endswith(f"{lines[0]}\n"), self.err  # it comes last
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0].removeprefix("Error: ")


Cli = Callable[..., Answer]


@pytest.fixture(autouse=True)
def signals_are_heard() -> Iterator[None]:
    """Whatever started the tests may ignore Ctrl-C, and a command that is started so leaves it ignored."""
    own = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("zoo", "--json")` runs that command."""

    def call(*words: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["narrowcast", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        assert isinstance(stopped.value.code, int)
        return Answer(stopped.value.code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the module `cli_teachers`."""
    folder = tmp_path_factory.mktemp("teachers")
    (folder / "cli_teachers.py").write_text(TEACHERS)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def write_clip(path: Path, *, num_frames: int = NUM) -> Path:
    with VideoWriter(path, fps=Fraction(25)) as video:
        for frame, _ in moving_shapes(num_frames=num_frames, size_wh=(64, 48), seed=1):
            video.write(frame.image_rgb, frame.time_s)
    return path


@pytest.fixture
def here(tmp_path: Path, teachers: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty, with the teachers within reach, and no pages written, which take most of a run."""
    monkeypatch.syspath_prepend(teachers)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "write_report", lambda path: None)
    return tmp_path


@pytest.fixture
def stream(cli: Cli, clip: Path, here: Path) -> Cli:
    """`stream("--seed", "1")` runs the clip into `run` with a small student; what is given comes last and counts."""

    def call(*words: str | Path, source: str | Path = clip, teacher: str = "cli_teachers:colours") -> Answer:
        tiny = ("--student", "jitnet", "--size", "64x48", "--out", "run", "--device", "cpu")
        return cli("stream", "run", source, "--teacher", teacher, *tiny, *words)

    return call
