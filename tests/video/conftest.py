"""Small real films, encoded by the tests."""

import logging
import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Film = Callable[..., Path]


def level_of(index: int) -> int:
    """The grey level of frame `index`: far enough apart to survive any codec."""
    return 16 + 12 * (index % 18)


def index_of(image_rgb: np.ndarray) -> int:
    """The frame whose grey level this image has."""
    return round((float(image_rgb.mean()) - 16) / 12)


def encode(
    path: Path,
    *,
    num_frames: int = 10,
    size_wh: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: Fraction = Fraction(25),
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    image: Callable[[int], np.ndarray] | None = None,
    gop: int = 4,
    options: dict[str, str] | None = None,
    form: str | None = None,
) -> Path:
    with av.open(str(path), "w", format=form, options=options or {}) as out:
        stream: Any = out.add_stream(codec, rate=fps)
        stream.width, stream.height = size_wh
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        if time_base is not None:
            stream.codec_context.time_base = time_base
        for index in range(num_frames):
            plain = np.full((size_wh[1], size_wh[0], 3), level_of(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(plain if image is None else image(index))
            if ticks is not None:
                frame.pts, frame.time_base = ticks[index], time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def cut(path: Path, share: float) -> Path:
    """The file with only its first `share` left."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def audio(path: Path) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    return path


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """`film("a.mp4", num_frames=5)` encodes that file, frame k of grey level `level_of(k)`."""
    return lambda name, **how: encode(tmp_path / name, **how)


@pytest.fixture
def noise() -> Callable[[int], np.ndarray]:
    """Images that do not compress, so that every packet has a size worth damaging."""
    images = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    return lambda index: images[index % 20]


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="narrowcast")
