"""The numbers of `summary.json`, computed a second time by hand."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fakes import CLASSES, LookupTeacher, flat_labels, plain_frames
from narrowcast.core.runs import RunFolder
from narrowcast.metrics.cost import count_macs, count_training_macs
from narrowcast.models.jitnet import JITNet
from narrowcast.stream.distill import LEARNING, Distiller
from narrowcast.stream.scores import SegmentationScores
from narrowcast.stream.summary import Costs, summarise, teacher_macs


class PricedTeacher(LookupTeacher):
    """A teacher of a million multiply-adds a pixel."""

    card = SimpleNamespace(macs=10**6 * 64 * 48)


def line(frame: int, *, updates: int | None = None, student_ran: bool = True) -> dict[str, Any]:
    """Frame k took the student k + 1 ms, the teacher 100 + k ms."""
    timings = {"student": frame + 1.0}
    if updates is not None:
        timings |= {"teacher": 100.0 + frame, "learning": 10.0 * updates}
        timings |= {"update": 9.0} if updates else {}
    found = {"frame": frame, "teacher_ran": updates is not None, "student_ran": student_ran, "updates": updates or 0}
    return found | {"accuracy_after": None if updates is None else 0.9, "timings_ms": timings}


LINES = [line(k, updates={0: 8, 8: 3, 16: 0}.get(k)) for k in range(20)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.open(tmp_path / "run", {"config": {}}, resume=False) as folder:
        yield folder


def distiller(teacher: LookupTeacher, *, size_wh: tuple[int, int] | None = None) -> Distiller:
    made = Distiller(JITNet(3, width=0.25), teacher, LEARNING, size_wh=size_wh, device=torch.device("cpu"))
    made.step(plain_frames(1)[0])
    return made


def summary(
    folder: RunFolder,
    lines: list[dict[str, Any]],
    *,
    teacher: LookupTeacher | None = None,
    size_wh: tuple[int, int] | None = None,
    total_s: float = 0.5,
) -> dict[str, Any]:
    for report in lines:
        folder.append(report)
    by = distiller(teacher or PricedTeacher([flat_labels()]), size_wh=size_wh)
    return summarise(folder, SegmentationScores(CLASSES), Costs(total_s), by)


def test_counts_and_times(folder: RunFolder) -> None:
    found = summary(folder, LINES)
    assert (found["frames"], found["teacher_frames"], found["updates"], found["teacher_fraction"]) == (20, 3, 11, 0.15)
    students = np.arange(1, 21)
    assert found["student_ms_p50"] == np.median(students) == 10.5
    assert found["student_ms_p99"] == pytest.approx(np.percentile(students, 99))
    assert found["update_ms_p50"] == 9
    assert (found["teacher_ms_p50"], found["teacher_s"]) == (108, pytest.approx(0.324))
    assert (found["student_s"], found["learning_s"]) == (pytest.approx(0.21), pytest.approx(0.11))


def test_speedup_is_the_teacher_on_every_frame_over_all_that_the_run_took(folder: RunFolder) -> None:
    found = summary(folder, LINES, total_s=0.54)
    assert found["teacher_every_frame_s"] == pytest.approx(20 * 0.108)
    assert found["speedup"] == pytest.approx(4.0)


@pytest.mark.parametrize("size_wh", [None, (48, 32)], ids=["frames' size", "a size of its own"])
def test_speedup_in_multiply_adds(folder: RunFolder, size_wh: tuple[int, int] | None) -> None:
    """Every frame a prediction, every teacher frame the teacher and one more look, every update a training step."""
    found = summary(folder, LINES, size_wh=size_wh)
    net, (width, height) = JITNet(3, width=0.25), size_wh or (64, 48)
    images = torch.zeros(1, 3, height, width)
    teacher = 10**6 * 64 * 48
    ours = 20 * count_macs(net, images) + 3 * (teacher + count_macs(net, images))
    ours += 11 * count_training_macs(net, images)
    assert found["speedup_macs"] == pytest.approx(20 * teacher / ours)
    assert 6 < found["speedup_macs"] < 20 / 3


def test_a_student_that_is_not_heard_costs_no_multiply_adds(folder: RunFolder) -> None:
    """It was once counted on every frame, so that runs by flow alone seemed dearer than the teacher."""
    silent = [one | {"student_ran": False, "accuracy_after": None, "updates": 0} for one in LINES]
    found = summary(folder, silent)
    assert (found["student_frames"], found["frames"]) == (0, 20)
    assert found["speedup_macs"] == pytest.approx(20 / 3)
    with RunFolder.open(folder.path.parent / "some", {"config": {}}, resume=False) as other:
        some = [one | {"student_ran": one["frame"] >= 15} for one in silent]
        assert summary(other, some)["student_frames"] == 5


def test_a_teacher_whose_cost_is_unknown(folder: RunFolder) -> None:
    teacher = LookupTeacher([flat_labels()])
    assert teacher_macs(teacher, (64, 48)) is None
    assert summary(folder, LINES, teacher=teacher)["speedup_macs"] is None


def test_a_run_that_never_learned(folder: RunFolder) -> None:
    found = summary(folder, [line(0, updates=0), line(1)])
    assert (found["updates"], found["update_ms_p50"], found["learning_s"]) == (0, None, 0.0)


def test_a_run_without_frames(folder: RunFolder) -> None:
    found = summary(folder, [], total_s=0.0)
    assert (found["frames"], found["teacher_frames"], found["updates"], found["total_s"]) == (0, 0, 0, 0.0)
    nothing = ["teacher_fraction", "student_ms_p50", "teacher_every_frame_s", "speedup", "speedup_macs", "miou_pooled"]
    assert [found[name] for name in nothing] == [None] * len(nothing)
    folder.write_summary(found)
