from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import UsageError
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.clips import Clip, ShiftedTeacher, plain_clips
from narrowcast.video.labels import write_label_png


def folder_of_frames(path: Path, num: int) -> Path:
    for ix in range(num):
        write_label_png(path / f"{ix:03}.png", np.full((8, 8), ix, np.uint8))
    return path


def test_frames_count_from_the_phase(tmp_path: Path) -> None:
    clip = plain_clips([str(folder_of_frames(tmp_path / "frames", 6))])[0]
    assert clip.name == "frames"
    with clip.open(phase=2, max_frames=5) as frames:
        found = [(frame.index, float(frame.time_s)) for frame in frames]
        assert frames.num_frames == 3
    assert found == [(0, 0.08), (1, 0.12), (2, 0.16)]


def test_a_shifted_teacher_hears_the_sources_numbers() -> None:
    class Counting:
        classes = ("background", "one")

        def __call__(self, image_rgb, *, frame_index=None):
            return TeacherLabels(np.full(image_rgb.shape[:2], frame_index, np.uint8))

    shifted = ShiftedTeacher(Counting(), 5)
    assert shifted(np.zeros((2, 2, 3), np.uint8), frame_index=3).labels[0, 0] == 8


def test_names_are_unique(tmp_path: Path) -> None:
    clips = plain_clips(["a/clip.mp4", "b/clip.mp4", "rtsp://user:secret@host/live", "50% off.mp4"])
    assert [clip.name for clip in clips] == ["a-clip", "b-clip", "live", "50-off"]
    for specs, says in ((["a.mp4", "a.mp4"], "given twice"), (["x/a/c.mp4", "y/a/c.mp4"], "both be called 'a-c'")):
        with pytest.raises(UsageError, match=says):
            plain_clips(specs)


def test_a_fingerprint_tells_files_apart(tmp_path: Path) -> None:
    for name, content in (("a", b"12"), ("b", b"12"), ("c", b"13")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (Clip("clip", str(tmp_path / name)).fingerprint() for name in "abc")
    assert a == b != c
