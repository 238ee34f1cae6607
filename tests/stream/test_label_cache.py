from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.clips import Clip
from narrowcast.stream.label_cache import cache_folder, check_labels, label_clip, teacher_key
from narrowcast.video.labels import write_label_png

from .test_clips import folder_of_frames


class Threshold:
    """Labels what is brighter than a level; counts its calls."""

    classes = ("background", "bright")

    def __init__(self, level: int = 100) -> None:
        self.level, self.calls = level, 0

    def __call__(self, image_rgb, *, frame_index=None):
        self.calls += 1
        return TeacherLabels((image_rgb.max(axis=2) >= self.level).astype(np.uint8))


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return Clip("frames", str(folder_of_frames(tmp_path / "frames", 6)))


def test_every_frame_is_labelled_once(tmp_path: Path, clip: Clip) -> None:
    teacher, folder = Threshold(), tmp_path / "labels"
    reports = label_clip(clip, teacher, folder, max_frames=None)
    assert next(reports).done == 1  # and there it is killed
    reports.close()
    assert [report.was_cached for report in label_clip(clip, teacher, folder, max_frames=4)] == [True, *[False] * 3]
    assert [report.done for report in label_clip(clip, teacher, folder, max_frames=4)] == [4]  # without decoding
    assert [report.done for report in label_clip(clip, teacher, folder, max_frames=None)][-1] == 6
    assert [report.done for report in label_clip(clip, teacher, folder, max_frames=99)] == [6]
    assert teacher.calls == 6
    assert MaskFolderTeacher(folder).classes == teacher.classes
    check_labels(clip, teacher, folder, num_frames=6)


def test_labels_of_others_are_refused(tmp_path: Path, clip: Clip) -> None:
    folder = tmp_path / "labels"
    list(label_clip(clip, Threshold(), folder, max_frames=None))
    with pytest.raises(ConfigError, match="not this teacher's"):
        check_labels(clip, Threshold(level=255), folder, num_frames=6)
    other = Clip("frames", str(folder_of_frames(tmp_path / "others", 7)))
    with pytest.raises(ConfigError, match="another video"):
        list(label_clip(other, Threshold(), folder, max_frames=None))
    teacher = Threshold()
    teacher.classes = ("background", "dark")
    with pytest.raises(ConfigError, match="other classes"):
        list(label_clip(clip, teacher, folder, max_frames=None))


def test_folders_are_keyed_by_teacher_and_stream(tmp_path: Path, clip: Clip) -> None:
    card = tmp_path / "card.toml"
    card.write_text("name = 'a'")
    before = teacher_key(str(card))
    card.write_text("name = 'b'")
    assert before != teacher_key(str(card)) != teacher_key("maskrcnn")
    folder = cache_folder(tmp_path / "cache", str(card), clip)
    assert folder == tmp_path / "cache" / teacher_key(str(card)) / "frames"
    write_label_png(tmp_path / "cache" / "frames" / "00000000.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "cache" / "frames" / "classes.txt").write_text("background\nbright\n")
    assert cache_folder(tmp_path / "cache", str(card), clip) == tmp_path / "cache" / "frames"
