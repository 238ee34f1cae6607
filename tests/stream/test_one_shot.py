from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest
import torch

from fakes import CLASSES, LookupTeacher, shapes
from narrowcast.core.errors import ConfigError
from narrowcast.models.classes import parse_classes
from narrowcast.models.jitnet import JITNet
from narrowcast.models.student import save_student
from narrowcast.stream.one_shot import OneShot
from narrowcast.stream.setting import Setting
from narrowcast.stream.stream_report import StreamReport


def run(mode: Literal["a", "b"], tmp_path: Path) -> tuple[list[StreamReport], LookupTeacher]:
    frames, labels = shapes(8)
    torch.manual_seed(0)
    path = tmp_path / "start.safetensors"
    save_student(path, JITNet(len(CLASSES), width=0.25), CLASSES)
    teacher = LookupTeacher(labels)
    setting = Setting(
        teacher=teacher,
        labels=teacher,
        class_map=parse_classes("round,square", CLASSES),
        size_wh=(64, 48),
        device=torch.device("cpu"),
        seed=0,
        open_frames=lambda: nullcontext(frames),
    )
    return list(OneShot(mode, 4, updates=20, student=str(path)).start(setting).run(frames)), teacher


def test_the_teacher_is_asked_once_an_interval(tmp_path: Path) -> None:
    reports, teacher = run("a", tmp_path)
    assert teacher.asked == [0, 4]
    assert [report.updates for report in reports] == [20, 0, 0, 0, 20, 0, 0, 0]
    first, second = reports[0], reports[4]
    assert first.loss is not None
    assert second.loss is not None
    assert second.loss < first.loss
    assert first.labels is first.teacher_labels


def test_mode_b_begins_anew_and_mode_a_goes_on(tmp_path: Path) -> None:
    (on, _), (anew, _) = run("a", tmp_path), run("b", tmp_path)
    assert [report.loss for report in on[:4]] == [report.loss for report in anew[:4]]
    assert on[4].loss is not None
    assert anew[4].loss is not None
    assert on[4].loss < anew[4].loss  # it knows the scene


def test_numbers_are_checked() -> None:
    with pytest.raises(ConfigError, match="interval = 0"):
        OneShot("a", 0)
