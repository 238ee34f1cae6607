import gc
import re
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer

from narrowcast.core.errors import SourceError
from narrowcast.video.container import open_container
from narrowcast.video.decode import VideoReader, oriented
from narrowcast.video.patience import SHORT
from narrowcast.video.source import open_source

from .conftest import Film, audio, cut, encode, index_of

CORNERS = np.array([[10, 80], [150, 220]], np.uint8)  # grey levels of the four quarters of an image


def quarters(index: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    width, height = size_wh
    grey = CORNERS.repeat(height // 2, axis=0).repeat(width // 2, axis=1)
    return np.repeat(grey[:, :, None], 3, axis=2)


def corners_of(image_rgb: np.ndarray) -> np.ndarray:
    """The nearest of the four levels in each quarter."""
    height, width = image_rgb.shape[:2]
    seen = image_rgb[[height // 4, 3 * height // 4]][:, [width // 4, 3 * width // 4], 0].astype(int)
    levels = CORNERS.ravel().astype(int)
    return levels[np.abs(seen[:, :, None] - levels).argmin(axis=2)]


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Overwrite the matrix in the track header of an MP4 file (ISO 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    content[start : start + 36] = matrix
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        pytest.param((1, 0, 0, 1), CORNERS, id="as it is"),
        pytest.param((0, 1, -1, 0), np.rot90(CORNERS, -1), id="a quarter turn clockwise"),
        pytest.param((-1, 0, 0, -1), np.rot90(CORNERS, 2), id="upside down"),
        pytest.param((0, -1, 1, 0), np.rot90(CORNERS, 1), id="a quarter turn counterclockwise"),
        pytest.param((-1, 0, 0, 1), np.fliplr(CORNERS), id="mirrored across"),
        pytest.param((1, 0, 0, -1), np.flipud(CORNERS), id="mirrored down"),
        pytest.param((0, 1, 1, 0), CORNERS.T, id="mirrored along the diagonal"),
    ],
)
def test_a_film_is_shown_the_right_way_up(film: Film, matrix: tuple[int, int, int, int], expected: np.ndarray) -> None:
    path = film("turned.mp4", num_frames=2, image=quarters)
    set_display_matrix(path, *matrix)
    with open_source(path) as source:
        image_rgb = next(source).image_rgb
        assert source.size_wh == (image_rgb.shape[1], image_rgb.shape[0])
    np.testing.assert_array_equal(corners_of(image_rgb), expected)
    assert image_rgb.shape[:2] == ((64, 48) if matrix[0] == 0 else (48, 64))
    assert image_rgb.flags.c_contiguous


def test_a_quarter_turn_equals_the_slow_one(rng: np.random.Generator) -> None:
    image_rgb = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    matrix = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30], np.int32)
    np.testing.assert_array_equal(oriented(image_rgb, matrix), np.rot90(image_rgb, -1))


@pytest.mark.parametrize("size_wh", [(33, 17), (7, 5), (161, 91)])
def test_odd_sizes_keep_every_pixel(film: Film, size_wh: tuple[int, int]) -> None:
    path = film("odd.mkv", num_frames=3, size_wh=size_wh, codec="ffv1", pix_fmt="yuv444p")
    with open_source(path) as source:
        assert source.size_wh == size_wh
        assert [index_of(frame.image_rgb) for frame in source] == [0, 1, 2]


def test_size_and_pixel_format_may_change_in_mid_stream(film: Film, tmp_path: Path) -> None:
    parts = [
        film("1.mjpeg", codec="mjpeg", pix_fmt="yuvj420p", num_frames=3),
        film("2.mjpeg", codec="mjpeg", pix_fmt="yuvj444p", num_frames=3, size_wh=(34, 50)),
        film("3.mjpeg", codec="mjpeg", pix_fmt="yuvj422p", num_frames=3, size_wh=(128, 20)),
    ]
    joined = tmp_path / "joined.mjpeg"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(joined) as source:
        frames = list(source)
    sizes = [(frame.image_rgb.shape[1], frame.image_rgb.shape[0]) for frame in frames]
    assert sizes == [(64, 48)] * 3 + [(34, 50)] * 3 + [(128, 20)] * 3
    assert [index_of(frame.image_rgb) for frame in frames] == [0, 1, 2] * 3
    assert [frame.index for frame in frames] == list(range(9))


def test_colours_survive_decoding(film: Film) -> None:
    red = np.full((48, 64, 3), (200, 30, 40), np.uint8)
    with open_source(film("red.mp4", num_frames=2, image=lambda index: red)) as source:
        np.testing.assert_allclose(next(source).image_rgb.mean(axis=(0, 1)), (200, 30, 40), atol=4)


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        pytest.param("a.mp4", {"options": {"movflags": "faststart"}}, r"ends after \d+ of 60 frames", id="mp4"),
        pytest.param("a.mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}, "middle of a frame", id="pieces"),
        pytest.param("a.mkv", {}, r"ends at .* of 2.40 s", id="matroska"),
        pytest.param("a.avi", {"codec": "mpeg4"}, r"ends after \d+ of 60 frames", id="avi"),
        pytest.param("a.mjpeg", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "middle of a frame", id="bare jpeg frames"),
    ],
)
def test_a_truncated_film_gives_all_it_has_and_says_so(film: Film, noise, caplog, name, how, words: str) -> None:
    path = film(name, num_frames=60, image=noise, **how)
    with open_source(path) as source:
        whole = [frame.time_s for frame in source]
        assert (len(whole), source.truncated) == (60, None)
    with open_source(cut(path, 0.5)) as source:
        assert (source.truncated, caplog.messages) == (None, [])
        rest = [frame.time_s for frame in source]
        assert source.truncated is not None
    assert 15 <= len(rest) <= 40
    assert rest == whole[: len(rest)]
    assert re.search(words, source.truncated)
    assert [message for message in caplog.messages if source.truncated in message]


def blank_jpeg_headers(path: Path, which: slice) -> None:
    """Overwrite the whole header of these JPEG frames, so that nothing of them can be decoded."""
    content = bytearray(path.read_bytes())
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", content)]
    for start in starts[which]:
        content[start : start + 600] = bytes(600)
    path.write_bytes(content)


def test_a_damaged_packet_is_skipped_counted_and_logged(film: Film, noise, caplog) -> None:
    path = film("a.mkv", num_frames=30, image=noise, codec="mjpeg", pix_fmt="yuvj420p")
    blank_jpeg_headers(path, slice(10, 11))
    with open_source(path) as source:
        frames = list(source)
        assert (source.damaged, source.truncated) == (1, None)
    assert [frame.index for frame in frames] == list(range(29))
    assert Fraction(10, 25) not in [frame.time_s for frame in frames]
    assert frames[10].time_s == Fraction(11, 25)  # later times stay true
    assert [message for message in caplog.messages if "packet 11 cannot be decoded" in message]


def test_nothing_that_decodes_is_an_error(film: Film, noise) -> None:
    path = film("a.mkv", num_frames=3, image=noise, codec="mjpeg", pix_fmt="yuvj420p")
    blank_jpeg_headers(path, slice(None))
    with pytest.raises(SourceError, match="none of its 3 packets can be decoded"):
        open_source(path)


def test_opening_fails_without_leaving_the_file_open(film: Film, tmp_path: Path) -> None:
    container = open_container(str(audio(tmp_path / "a.wav")))
    with pytest.raises(SourceError, match="only audio"):
        VideoReader(lambda: container, name="a.wav").open()
    with pytest.raises(AssertionError):
        list(container.demux())  # PyAV's way of saying that a container is closed


def camera(*connections: Path | None, first_s: float = 0.001) -> VideoReader:
    """A camera that sends one film after another; None is a connection refused, and so is any after the last."""
    waiting = list(connections)

    def opener() -> InputContainer:
        path = waiting.pop(0) if waiting else None
        if path is None:
            raise SourceError("camera: cannot be opened: Connection refused")
        return open_container(str(path))

    return VideoReader(opener, name="camera", is_endless=True, patience=replace(SHORT, first_s=first_s))


def test_a_lost_camera_is_connected_again(tmp_path: Path, caplog) -> None:
    first = encode(tmp_path / "1.mkv", num_frames=4)
    second = encode(tmp_path / "2.mkv", num_frames=3)
    reader = camera(first, None, None, second).open()
    pictures = list(reader.pictures())
    assert [index_of(picture.load()) for picture in pictures] == [0, 1, 2, 3, 0, 1, 2]
    assert [picture.is_after_gap for picture in pictures] == [False] * 4 + [True] + [False] * 2
    times = [picture.time_s for picture in pictures]
    assert times == sorted(set(times))
    assert reader.is_live
    assert reader.reconnects == 1
    assert reader.truncated == "the camera stopped sending"  # it does not come back a second time
    assert [message for message in caplog.messages if "connecting again" in message]
    reader.close()


def test_closing_ends_the_wait_for_a_camera(tmp_path: Path) -> None:
    reader = camera(encode(tmp_path / "1.mkv", num_frames=2), first_s=60).open()
    pictures = reader.pictures()
    next(pictures), next(pictures)
    reader._closing.set()
    assert list(pictures) == []


def test_libav_stays_silent(film: Film, noise, capfd) -> None:
    path = cut(film("a.mkv", num_frames=30, image=noise), 0.6)
    with open_source(path) as source:
        list(source)
    assert av.logging.get_level() is None
    assert capfd.readouterr().err == ""


def test_no_frame_waits_for_the_garbage_collector(film: Film) -> None:
    """Frames whose side data was asked for refer to themselves; at 720p that was 50 MB up and down."""
    path = film("a.mp4", num_frames=18, gop=1)
    gc.collect()
    gc.disable()
    try:
        with open_source(path, loops=3) as source:
            alive = [sum(type(it) is av.VideoFrame for it in gc.get_objects()) for _ in source]
    finally:
        gc.enable()
    assert max(alive) <= 6
