from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.video.source import open_source

from .conftest import Film, audio, index_of, level_of


def test_frames_come_in_order_with_their_times(film: Film) -> None:
    with open_source(film("a.mp4", num_frames=10)) as source:
        frames = list(source)
        assert (source.fps, source.num_frames, source.size_wh, source.is_live) == (25, 10, (64, 48), False)
        assert (source.damaged, source.truncated) == (0, None)
    assert [frame.index for frame in frames] == list(range(10))
    assert [frame.time_s for frame in frames] == [Fraction(k, 25) for k in range(10)]
    assert [index_of(frame.image_rgb) for frame in frames] == list(range(10))
    assert all(frame.image_rgb.flags.writeable and frame.image_rgb.flags.c_contiguous for frame in frames)


def test_ntsc_rates_stay_exact(film: Film) -> None:
    with open_source(film("a.mp4", fps=Fraction(30000, 1001))) as source:
        assert [frame.time_s for frame in source] == [k * Fraction(1001, 30000) for k in range(10)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rates_keep_their_true_times(film: Film, suffix: str) -> None:
    ticks = [0, 40, 41, 300, 1000, 1033, 5000]  # milliseconds
    path = film(f"vfr.{suffix}", num_frames=7, ticks=ticks, time_base=Fraction(1, 1000))
    with open_source(path) as source:
        assert [frame.time_s for frame in source] == [Fraction(tick, 1000) for tick in ticks]


def test_times_count_from_the_first_frame(film: Film) -> None:
    path = film("late.mkv", num_frames=3, ticks=[5000, 5040, 5080], time_base=Fraction(1, 1000))
    with open_source(path) as source:
        assert [frame.time_s for frame in source] == [0, Fraction(1, 25), Fraction(2, 25)]
        assert source.truncated is None


def test_a_bare_stream_without_stamps_runs_at_the_rate_it_states(film: Film) -> None:
    with open_source(film("bare.h264")) as source:
        assert [frame.time_s for frame in source] == [k / (source.fps or 1) for k in range(10)]


@pytest.mark.parametrize("start", [1, 7, 9])
def test_starting_later_gives_the_same_frames(film: Film, start: int) -> None:
    path = film("a.mp4", ticks=[0, 1, 5, 9, 12, 20, 21, 22, 30, 44], time_base=Fraction(1, 25))
    with open_source(path) as whole, open_source(path, start_index=start) as rest:
        for full, part in zip(list(whole)[start:], rest, strict=True):
            assert (full.index, full.time_s) == (part.index, part.time_s)
            np.testing.assert_array_equal(full.image_rgb, part.image_rgb)


def test_starting_after_the_end_gives_nothing(film: Film) -> None:
    with open_source(film("a.mp4"), start_index=10) as source:
        assert list(source) == []


def test_max_frames_counts_from_the_start_index(film: Film) -> None:
    with open_source(film("a.mp4"), start_index=4, max_frames=3) as source:
        assert source.num_frames == 7
        assert [frame.index for frame in source] == [4, 5, 6]


def test_loops_go_on_in_index_and_time(film: Film) -> None:
    with open_source(film("a.mp4", num_frames=4), loops=3, start_index=2) as source:
        frames = list(source)
        assert source.num_frames == 12
    assert [frame.index for frame in frames] == list(range(2, 12))
    assert [frame.time_s for frame in frames] == [Fraction(k, 25) for k in range(2, 12)]
    assert [index_of(frame.image_rgb) for frame in frames] == [2, 3, 0, 1, 2, 3, 0, 1, 2, 3]


def test_a_source_closed_early_can_be_closed_again(film: Film) -> None:
    with open_source(film("a.mp4")) as source:
        next(source)
    source.close()
    assert list(source) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"start_index": -1}, "start_index is -1", id="no negative index"),
        pytest.param({"max_frames": -1}, "max_frames is -1", id="not fewer than no frame"),
        pytest.param({"loops": 0}, "loops is 0", id="at least one pass"),
        pytest.param({"fps": Fraction(10)}, "fps has no effect", id="a video has its own times"),
    ],
)
def test_misuse_is_a_usage_error(film: Film, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_source(film("a.mp4"), **options)


def write_images(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for position, name in enumerate(names):
        Image.new("RGB", (20, 10), (level_of(position),) * 3).save(folder / name)
    return folder


def test_images_come_in_natural_order(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", "f1.png", "f2.jpg", "f9.png", "f10.png", ".hidden.png")
    (folder / "notes.txt").write_text("not an image")
    with open_source(folder) as source:
        frames = list(source)
        assert (source.fps, source.num_frames, source.size_wh) == (25, 4, (20, 10))
    assert [index_of(frame.image_rgb) for frame in frames] == [0, 1, 2, 3]
    assert [frame.time_s for frame in frames] == [Fraction(k, 25) for k in range(4)]


def test_a_pattern_picks_images_and_fps_spaces_them(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", "a2.png", "a10.png", "b1.png")
    with open_source(f"{folder}/a*.png", fps=Fraction(2), start_index=1, loops=2) as source:
        assert [(frame.index, frame.time_s) for frame in source] == [
            (1, Fraction(1, 2)),
            (2, Fraction(1)),
            (3, Fraction(3, 2)),
        ]


def test_one_image_is_a_source_of_one_frame(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", "a.png")
    with open_source(folder / "a.png") as source:
        assert len(list(source)) == 1


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", "f1.jpg", "f2.jpg", "f3.jpg")
    (folder / "f2.jpg").write_bytes((folder / "f2.jpg").read_bytes()[:-200])
    with open_source(folder) as source, pytest.raises(SourceError, match=r"f2\.jpg: the image cannot be decoded"):
        list(source)
    (folder / "f2.jpg").write_text("words")
    with open_source(folder) as source, pytest.raises(SourceError, match=r"f2\.jpg: not an image"):
        list(source)


def without_size(film: Film) -> Path:
    path = film("none.avi", codec="rawvideo", pix_fmt="bgr24")
    content = bytearray(path.read_bytes())
    start = content.index(b"strf") + 8 + 4  # BITMAPINFOHEADER: size, then width and height
    content[start : start + 8] = bytes(8)
    path.write_bytes(content)
    return path


def missing(film: Film, folder: Path) -> str:
    return str(folder / "missing.mp4")


def empty(film: Film, folder: Path) -> str:
    (folder / "empty.mp4").touch()
    return str(folder / "empty.mp4")


def words_as_mp4(film: Film, folder: Path) -> str:
    (folder / "words.mp4").write_text("these are words\n" * 50)
    return str(folder / "words.mp4")


def only_zeros(film: Film, folder: Path) -> str:
    (folder / "zeros.mp4").write_bytes(bytes(20000))
    return str(folder / "zeros.mp4")


def without_index(film: Film, folder: Path) -> str:
    path = film("cut.mp4")
    path.write_bytes(path.read_bytes()[:-400])  # an MP4 file has its index at the end
    return str(path)


def empty_folder(film: Film, folder: Path) -> str:
    (folder / "empty").mkdir()
    return str(folder / "empty")


BAD = [
    pytest.param(missing, r"missing\.mp4: no such file or folder", id="missing file"),
    pytest.param(empty, r"empty\.mp4: the file is empty", id="empty file"),
    pytest.param(words_as_mp4, r"words\.mp4: not a video", id="text with a video's name"),
    pytest.param(only_zeros, r"zeros\.mp4: not a video", id="zeros"),
    pytest.param(without_index, r"cut\.mp4: not a video that can be read, or cut off", id="cut off before its index"),
    pytest.param(
        lambda film, folder: str(audio(folder / "a.wav")), r"a\.wav: has no video, only audio", id="audio only"
    ),
    pytest.param(lambda film, folder: str(without_size(film)), r"none\.avi: the picture size is 0x0", id="0 x 0"),
    pytest.param(empty_folder, r"empty: a folder without images", id="folder without images"),
    pytest.param(lambda film, folder: f"{folder}/*.jpg", r"\*\.jpg: no image matches", id="pattern without a match"),
    pytest.param(lambda film, folder: "ftp://host/a.mp4", r"ftp:// is not known", id="unknown scheme"),
    pytest.param(lambda film, folder: "webcam:97", r"webcam:97: no such camera", id="camera that is not there"),
    pytest.param(lambda film, folder: "http://127.0.0.1:9/a.mp4", r"cannot be opened: .*refused", id="nobody listens"),
    pytest.param(lambda film, folder: "rtsp://me:secret@127.0.0.1:9/a", r"^rtsp://127", id="password kept out"),
]


def y4m(path: Path, size: bytes, content: bytes) -> Path:
    path.write_bytes(b"YUV4MPEG2 " + size + b" F25:1 Ip A1:1 C420jpeg\n" + content)
    return path


FRAME = b"FRAME\n" + bytes(64 * 48 * 3 // 2)
BAD += [
    pytest.param(lambda film, folder: "", "the source has no name", id="no name"),
    pytest.param(
        lambda film, folder: str(y4m(folder / "none.y4m", b"W0 H0", b"FRAME\n")),
        "header makes no sense",
        id="0 x 0, raw",
    ),
]


@pytest.mark.parametrize(("size", "missing"), [(5 * len(FRAME), None), (4 * len(FRAME) + 1000, "middle of a frame")])
def test_a_raw_video_that_ends_in_the_middle_of_a_frame(tmp_path: Path, size: int, missing: str | None) -> None:
    """libav drops the half frame and says nothing."""
    with open_source(y4m(tmp_path / "a.y4m", b"W64 H48", (5 * FRAME)[:size])) as source:
        assert len(list(source)) == (5 if missing is None else 4)
        assert missing is None or missing in (source.truncated or "")
        assert (source.truncated is None) == (missing is None)


def test_a_matroska_file_that_lacks_its_last_second(film: Film, noise) -> None:
    """The duration in a header is not exact; the length in bytes is."""
    path = film("a.mkv", num_frames=30, image=noise)
    with open_source(path) as source:
        assert (len(list(source)), source.truncated) == (30, None)
    path.write_bytes(path.read_bytes()[:-20_000])
    with open_source(path) as source:
        assert 15 < len(list(source)) < 30
        assert "bytes too early" in (source.truncated or "")


def test_no_frames_can_be_asked_for(film: Film) -> None:
    with open_source(film("a.mp4"), start_index=3, max_frames=0) as source:
        assert list(source) == []


@pytest.mark.parametrize(("make", "words"), BAD)
def test_bad_input_is_one_line_that_names_it(film: Film, tmp_path: Path, capfd, make, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        open_source(make(film, tmp_path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # libav's own messages are not for users
