"""Configurations A, B and C of section 2.4.8."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fakes import CLASSES, LookupTeacher, shapes
from narrowcast.core.errors import ConfigError, SourceError, UsageError
from narrowcast.core.frames import IGNORE
from narrowcast.models.classes import parse_classes
from narrowcast.models.jitnet import JITNet
from narrowcast.models.student import save_student
from narrowcast.stream.clips import Clip
from narrowcast.stream.first_frame import FirstFrame, classes_on_objects, distorted, mimicked
from narrowcast.stream.learner import Sample
from narrowcast.stream.methods import parse_method
from narrowcast.stream.setting import Setting
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.images import read_image
from narrowcast.video.labels import write_label_png

NUM_FRAMES = 6


@pytest.fixture
def clip(tmp_path: Path) -> tuple[Clip, list[np.ndarray]]:
    frames, labels = shapes(NUM_FRAMES)
    folder = tmp_path / "shapes"
    folder.mkdir()
    for frame in frames:
        Image.fromarray(frame.image_rgb).save(folder / f"{frame.index:05}.png")
    return Clip("shapes", str(folder)), labels


def setting_of(clip: Clip, teacher: LookupTeacher) -> Setting:
    return Setting(
        teacher=teacher,
        labels=teacher,
        class_map=parse_classes("round,square", CLASSES),
        size_wh=(64, 48),
        device=torch.device("cpu"),
        seed=0,
        open_frames=clip.open,
    )


def run(method: FirstFrame, clip: Clip, labels: list[np.ndarray]) -> tuple[list[StreamReport], LookupTeacher]:
    teacher = LookupTeacher(labels)
    setting = setting_of(clip, teacher)
    with clip.open() as frames:
        return list(method.start(setting).run(frames)), teacher


@pytest.fixture
def student(tmp_path: Path) -> str:
    torch.manual_seed(0)
    save_student(tmp_path / "start.safetensors", JITNet(len(CLASSES), width=0.25), CLASSES)
    return str(tmp_path / "start.safetensors")


def test_a_learns_the_first_frame_and_c_every_third(clip: tuple[Clip, list[np.ndarray]], student: str) -> None:
    (a, asked_by_a), (c, asked_by_c) = (run(FirstFrame(name, 3, student, max_updates=10), *clip) for name in ("a", "c"))
    assert (asked_by_a.asked, asked_by_c.asked) == ([0], [0, 3])
    assert [report.updates for report in a] == [10, 0, 0, 0, 0, 0]
    assert [report.updates for report in c] == [10, 0, 0, 10, 0, 0]
    assert np.array_equal(a[2].prediction, c[2].prediction)
    assert c[0].loss is not None
    assert c[3].loss is not None
    assert c[3].loss < c[0].loss


def test_a_frame_that_is_known_is_not_learned(clip: tuple[Clip, list[np.ndarray]], student: str) -> None:
    reports, _ = run(FirstFrame("c", 1, student, max_updates=20, accuracy=1e-9), *clip)
    assert sum(report.updates for report in reports) <= 20  # nothing is right at first, then something is


def test_b_mimics_the_masks_of_a_folder(clip: tuple[Clip, list[np.ndarray]], student: str, tmp_path: Path) -> None:
    for index in range(NUM_FRAMES):
        write_label_png(tmp_path / "theirs" / "shapes" / f"{index:05}.png", np.full((48, 64), 2, np.uint8))
    method = FirstFrame("b", 3, student, mimicked=str(tmp_path / "theirs"), max_updates=1)
    reports, teacher = run(method, *clip)
    assert teacher.asked == [0]  # labels by people: of the first frame only
    assert reports[3].teacher_labels is not None
    assert (reports[3].teacher_labels == 2).all()
    with pytest.raises(SourceError, match="no such folder; of the method to mimic"):
        mimicked(str(tmp_path), setting_of(Clip("gone", clip[0].spec), teacher))


def test_b_finds_the_objects_among_a_segmenters_classes(clip: tuple[Clip, list[np.ndarray]]) -> None:
    """`brightest` of `tiny_networks` calls pixels by their strongest colour; those that lie on shapes count."""
    setting = setting_of(clip[0], LookupTeacher(clip[1]))
    teacher = mimicked("tiny_networks:brightest", setting)
    answer = teacher(read_image(Path(clip[0].spec) / "00000.png"), frame_index=0)
    assert teacher.classes == CLASSES
    assert set(np.unique(answer.labels)) <= {0, 1, 2, IGNORE}


def test_a_class_that_lies_beside_the_objects_is_no_object() -> None:
    truth, seen = np.zeros((2, 4, 8), np.uint8)
    truth[:, :3], truth[:, 3:4] = 1, 2
    seen[:, :4], seen[:2, 6:] = 15, 7
    assert classes_on_objects(seen, truth) == {15: 1}
    seen[:, :4], seen[:, 2:8] = 0, 15  # only a third of it is on objects
    assert classes_on_objects(seen, truth) == {}


def test_labels_are_distorted_as_the_image_is() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[12:36, 10:30] = 255
    labels = (image[..., 0] > 0).astype(np.uint8)
    sample, rng = Sample(image, labels, np.ones_like(labels)), np.random.default_rng(0)
    for _ in range(8):
        seen = distorted(sample, rng)
        known = seen.weights > 0
        assert ((seen.image_rgb[..., 0] > 127) == (seen.labels == 1))[known].mean() > 0.97
        assert (seen.labels[~known] == IGNORE).all()
        assert 0.7 < known.mean() <= 1


def test_names() -> None:
    assert parse_method("davis-a") == FirstFrame("a")
    assert parse_method("davis-b:results") == FirstFrame("b", mimicked="results")
    assert parse_method("davis-c-8:jitnet") == FirstFrame("c", 8, student="jitnet")
    for name, says in (("davis-a-8", "a number has no effect"), ("davis-b", "needs whom to mimic")):
        with pytest.raises(UsageError, match=says):
            parse_method(name)
    with pytest.raises(ConfigError, match="every = 0"):
        FirstFrame("c", 0)
