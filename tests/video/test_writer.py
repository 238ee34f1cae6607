import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from narrowcast.core.errors import ShapeError, SourceError, StorageError, UsageError
from narrowcast.video import writer
from narrowcast.video.source import open_source
from narrowcast.video.writer import ENCODERS, VideoWriter, concat, fit, pick_encoder

from .conftest import index_of, level_of

FPS = Fraction(30000, 1001)


def grey(index: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), level_of(index), np.uint8)


def write(path: Path, times_s: list[Fraction], *, size_wh: tuple[int, int] = (64, 48), first: int = 0) -> Path:
    with VideoWriter(path, fps=FPS) as out:
        for position, time_s in enumerate(times_s):
            out.write(grey(first + position, size_wh), time_s)
    return path


def read(path: Path) -> tuple[list[Fraction], list[int]]:
    with open_source(path) as source:
        frames = list(source)
        assert source.truncated is None
    return [frame.time_s for frame in frames], [index_of(frame.image_rgb) for frame in frames]


def writers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("write ")]


def test_mp4_keeps_order_and_exact_times(tmp_path: Path) -> None:
    times_s = [k / FPS for k in (0, 1, 2, 7, 8, 30)]
    assert read(write(tmp_path / "a.mp4", times_s)) == (times_s, [0, 1, 2, 3, 4, 5])
    assert writers() == []


def test_matroska_keeps_times_to_the_millisecond(tmp_path: Path) -> None:
    times_s = [k / FPS for k in range(10)]
    read_s, indices = read(write(tmp_path / "a.mkv", times_s))
    assert indices == list(range(10))
    assert all(abs(read - true) <= Fraction(1, 1000) for read, true in zip(read_s, times_s, strict=True))


def test_the_file_states_its_rate_and_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    patches = np.zeros((64, 64, 3), np.uint8)
    patches[:, :32], patches[:, 32:] = (230, 40, 10), (20, 60, 220)
    with VideoWriter(path, fps=FPS, crf=10) as out:
        for k in range(3):
            out.write(patches, k / FPS)
    with open_source(path) as source:
        assert source.fps == FPS
        image_rgb = next(source).image_rgb
    np.testing.assert_allclose(image_rgb[20:40, 5:25].mean(axis=(0, 1)), (230, 40, 10), atol=6)
    np.testing.assert_allclose(image_rgb[20:40, 40:60].mean(axis=(0, 1)), (20, 60, 220), atol=6)


def test_odd_sizes_gain_a_row_and_a_column(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "a.mp4", [Fraction(0)], size_wh=(33, 17))) as source:
        assert source.size_wh == (34, 18)
        assert index_of(next(source).image_rgb) == 0


def test_images_of_another_size_are_letterboxed(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=FPS, crf=10) as out:
        out.write(grey(10), Fraction(0))
        out.write(grey(10, (20, 40)), 1 / FPS)
    with open_source(tmp_path / "a.mp4") as source:
        images = [frame.image_rgb for frame in source]
    assert [image.shape for image in images] == [(48, 64, 3)] * 2
    assert images[1][:, :16].max() < 20  # black bars
    assert abs(int(images[1][24, 32, 0]) - level_of(10)) < 8


def test_a_given_size_holds_from_the_first_image(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mkv", fps=FPS, size_wh=(128, 64)) as out:
        out.write(grey(1), Fraction(0))
    with open_source(tmp_path / "a.mkv") as source:
        assert source.size_wh == (128, 64)


@pytest.mark.parametrize(("shape", "size_wh"), [((10, 20), (20, 10)), ((5, 9), (10, 6)), ((50, 3), (64, 64))])
def test_fit_gives_the_size_asked_for(shape: tuple[int, int], size_wh: tuple[int, int]) -> None:
    assert fit(np.ones((*shape, 3), np.uint8), size_wh).shape == (size_wh[1], size_wh[0], 3)


def test_nothing_is_there_before_the_end_and_nothing_beside_it_after(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=FPS) as out:
        out.write(grey(0), Fraction(0))
        assert not (tmp_path / "a.mp4").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_no_image_makes_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=FPS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_still_finishes_the_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with VideoWriter(tmp_path / "a.mp4", fps=FPS) as out:
            out.write(grey(3), Fraction(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read(tmp_path / "a.mp4")[1] == [3]
    assert writers() == []


@contextmanager
def disk_of(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond this: what a full disk does, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("num_images", [pytest.param(40, id="while writing"), pytest.param(1, id="at the end")])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path, rng, suffix, num_images, capfd) -> None:
    noise = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)

    def fill() -> None:
        with disk_of(60_000), VideoWriter(tmp_path / f"a.{suffix}", fps=FPS, crf=10) as out:
            for k in range(num_images):
                out.write(np.roll(noise, k * 7, axis=1), k / FPS)

    with pytest.raises(StorageError, match=rf"^[^\n]*a\.{suffix}: cannot be written: File too large$"):
        fill()
    assert list(tmp_path.iterdir()) == []
    assert writers() == []
    assert capfd.readouterr().err == ""


def test_joining_on_a_full_disk_is_one_line(tmp_path: Path, rng) -> None:
    with VideoWriter(tmp_path / "part.mkv", fps=FPS, crf=10) as out:
        out.write(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8), Fraction(0))
    with pytest.raises(StorageError, match=r"a\.mp4: cannot be written: File too large$"), disk_of(60_000):
        concat([tmp_path / "part.mkv"], tmp_path / "a.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["part.mkv"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"a\.mp4: cannot be written"):
        write(tmp_path / "file" / "a.mp4", [Fraction(0)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"path": Path("a.avi")}, "ends in .mp4 or .mkv", id="suffix"),
        pytest.param({"crf": 52}, "crf is 52", id="crf"),
        pytest.param({"fps": Fraction(0)}, "fps is 0", id="fps"),
    ],
)
def test_misuse_is_a_usage_error(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        VideoWriter(**{"path": Path("a.mp4"), "fps": FPS, **options})


def test_times_must_increase_and_images_be_rgb(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=FPS) as out:
        out.write(grey(0), Fraction(1))
        with pytest.raises(UsageError, match=r"at 1\.0000 s is not after"):
            out.write(grey(0), Fraction(1))
        with pytest.raises(ShapeError, match="expected an image"):
            out.write(grey(0)[:, :, 0], Fraction(2))


def test_some_encoder_is_found_and_each_fallback_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_encoder() in ENCODERS
    monkeypatch.setattr(writer, "ENCODERS", {"no such encoder": {}, "mpeg4": {}})
    assert pick_encoder() == "mpeg4"
    times_s = [k / FPS for k in range(5)]
    assert read(write(tmp_path / "a.mp4", times_s)) == (times_s, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("part_suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_parts_join_with_their_own_times(tmp_path: Path, part_suffix: str, suffix: str) -> None:
    times_s = [k / FPS for k in range(18)]
    parts = [
        write(tmp_path / f"part-{first:08}.{part_suffix}", times_s[first : first + 6], first=first)
        for first in (0, 6, 12)
    ]
    concat(parts, tmp_path / f"whole.{suffix}")
    read_s, indices = read(tmp_path / f"whole.{suffix}")
    assert indices == list(range(18))
    tolerance = Fraction(1, 1000) if "mkv" in (part_suffix, suffix) else 0
    assert all(abs(read - true) <= tolerance for read, true in zip(read_s, times_s, strict=True))
    with open_source(tmp_path / f"whole.{suffix}") as source:
        assert source.fps == pytest.approx(FPS, abs=0.1)  # an MP4 file of rounded times states their mean
        assert source.fps == FPS or "mkv" in (part_suffix, suffix)


def test_joining_copies_packets_and_does_not_encode_again(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{first}.mkv", [k / FPS for k in range(first, first + 3)]) for first in (0, 3)]
    concat(parts, tmp_path / "whole.mkv")
    assert packets(tmp_path / "whole.mkv") == [content for part in parts for content in packets(part)]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as source:
        return [bytes(packet) for packet in source.demux(video=0) if packet.size]


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "1.mkv", [Fraction(0), Fraction(1)])
    larger = write(tmp_path / "2.mkv", [Fraction(2)], size_wh=(80, 48))
    overlapping = write(tmp_path / "3.mkv", [Fraction(1, 2)])
    with pytest.raises(StorageError, match=r"2\.mkv: encoded differently"):
        concat([first, larger], tmp_path / "whole.mp4")
    with pytest.raises(StorageError, match=r"3\.mkv: begins at 0\.500 s"):
        concat([first, overlapping], tmp_path / "whole.mp4")
    with pytest.raises(SourceError, match=r"missing\.mkv: no such file"):
        concat([first, tmp_path / "missing.mkv"], tmp_path / "whole.mp4")
    with pytest.raises(UsageError, match="no parts"):
        concat([], tmp_path / "whole.mp4")
    assert not (tmp_path / "whole.mp4").exists()
