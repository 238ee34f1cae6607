"""Runs into a folder: what is in it, what is scored, the same run twice."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import CLASSES, SIZE_WH, LookupTeacher, same_tensors
from narrowcast.core import checkpoint
from narrowcast.core.errors import UsageError
from narrowcast.core.runs import read_reports
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.student import load_student
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.run import CHECKPOINT, STUDENT, RunConfig, next_frame
from narrowcast.video.source import open_source
from stream_runs import (
    CONFIG,
    CONTRACT,
    FRAMES,
    IMAGES,
    LABELS,
    NUM,
    CountedTeacher,
    lines,
    run,
    scores,
    student,
    summary,
)

# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_run_leaves_all_that_was_promised(whole: Path) -> None:
    names = {"run.json", "reports.jsonl", "summary.json", "report.html", STUDENT, CHECKPOINT}
    assert names | {"labelled.mp4", "labels.jsonl", "samples"} <= {entry.name for entry in whole.iterdir()}
    assert (whole / "report.html").stat().st_size > 10_000


def test_the_summary_has_every_number_of_the_contract(whole: Path) -> None:
    found = summary(whole)
    assert set(found) >= CONTRACT
    assert all(found[name] is not None for name in CONTRACT)
    assert 0.1 < found["miou_pooled"] < 0.95  # or nothing below would be seen to differ
    assert (found["frames"], found["status"], found["source_truncated"], found["source_damaged"]) == (
        NUM,
        "finished",
        None,
        0,
    )


def test_there_is_one_report_a_frame(whole: Path) -> None:
    reports = list(read_reports(whole))
    assert [report["frame"] for report in reports] == list(range(NUM))
    assert [report["time_s"] for report in reports] == [round(k / 25, 6) for k in range(NUM)]
    assert [("miou" in report) for report in reports] == [k % 2 == 0 for k in range(NUM)]
    found = summary(whole)
    assert found["teacher_frames"] == sum(report["teacher_ran"] for report in reports) > 0
    assert found["updates"] == sum(report["updates"] for report in reports) > 0


def test_the_student_that_was_kept_is_the_adapted_one(whole: Path) -> None:
    net, classes, meta = load_student(whole / STUDENT)
    adapted = {
        name.removeprefix("net."): value
        for name, value in checkpoint.load(whole / CHECKPOINT)[0].items()
        if name.startswith("net.")
    }
    assert classes == CLASSES
    assert meta["frames"] == NUM
    assert same_tensors(net.state_dict(), adapted)
    assert not torch.equal(net.state_dict()["classifier.weight"], student().state_dict()["classifier.weight"])


def test_the_labelled_video_has_the_sources_times(whole: Path) -> None:
    with open_source(whole / "labelled.mp4") as video:
        frames = list(video)
    assert [frame.time_s for frame in frames] == [frame.time_s for frame in FRAMES]
    assert {frame.image_rgb.shape for frame in frames} == {(SIZE_WH[1], SIZE_WH[0], 3)}


def test_scores_are_those_of_the_predictions(tmp_path: Path, no_page: None) -> None:
    pooled, apart, outputs = (SegmentationScore(CLASSES) for _ in range(3))
    reports = run(tmp_path / "run")
    ious = []
    for report in reports[::2]:
        ious.append(pooled.add(report.prediction, LABELS[report.frame]))
        outputs.add(report.labels, LABELS[report.frame])
        if not report.teacher_ran:
            apart.add(report.prediction, LABELS[report.frame])
    found = summary(tmp_path / "run")
    assert found["miou_pooled"] == pooled.pooled
    assert found["miou_per_frame"] == pytest.approx(np.mean(ious))
    assert found["iou_per_class"] == pooled.per_class
    assert found["miou_pooled_without_teacher_frames"] == apart.pooled
    assert found["miou_pooled_of_outputs"] == outputs.pooled
    assert found["scored_frames"] == len(ious) == 11
    written = [report["miou"] for report in read_reports(tmp_path / "run") if "miou" in report]
    assert written == [round(iou, 6) for iou in ious]


def test_without_score_every_teacher_frames_are_scored(tmp_path: Path, no_page: None) -> None:
    teacher = CountedTeacher(LABELS)
    run(tmp_path / "run", config=replace(CONFIG, score_every=0), images=IMAGES[:12], teacher=teacher)
    reports = list(read_reports(tmp_path / "run"))
    assert [report["frame"] for report in reports if "miou" in report] == teacher.asked
    assert all(("miou" in report) == report["teacher_ran"] for report in reports)
    assert summary(tmp_path / "run")["miou_pooled_without_teacher_frames"] is None


def test_a_frames_label_does_not_change_its_own_score(tmp_path: Path, no_page: None) -> None:
    """Frames were scored after training on them in a first version of many such systems."""
    every = replace(CONFIG, score_every=1)
    plain = run(tmp_path / "a", images=IMAGES[:14], config=every, scorer=LookupTeacher(LABELS))
    asked = [report.frame for report in plain if report.teacher_ran]
    target = asked[2]
    wrong = [*LABELS[:target], 2 - LABELS[target], *LABELS[target + 1 :]]
    run(tmp_path / "b", images=IMAGES[:14], config=every, teacher=CountedTeacher(wrong), scorer=LookupTeacher(LABELS))
    first, second = ([line["miou"] for line in lines(tmp_path / name)] for name in ("a", "b"))
    assert first[: target + 1] == second[: target + 1]


# --- scoring is not cost ----------------------------------------------------------------------------------------------


class SlowScorer(LookupTeacher):
    """Takes its time, and says how much."""

    slept_s = 0.0

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        started = time.perf_counter()
        time.sleep(0.03)
        self.slept_s += time.perf_counter() - started
        return super().__call__(image_rgb, frame_index=frame_index)


def test_what_scoring_takes_is_not_counted(tmp_path: Path, no_page: None) -> None:
    scorer = SlowScorer(LABELS)
    started = time.perf_counter()
    run(tmp_path / "run", images=IMAGES[:12], scorer=scorer)
    wall_s = time.perf_counter() - started
    assert scorer.asked == list(range(0, 12, 2))
    assert 0 < summary(tmp_path / "run")["total_s"] <= wall_s - scorer.slept_s
    assert summary(tmp_path / "run")["teacher_ms_p50"] < 30


def test_the_teacher_is_not_asked_twice_about_one_frame(tmp_path: Path, no_page: None) -> None:
    teacher = CountedTeacher(LABELS)
    reports = run(tmp_path / "run", images=IMAGES[:12], teacher=teacher)
    assert sorted(teacher.asked) == sorted(
        {report.frame for report in reports if report.teacher_ran} | set(range(0, 12, 2))
    )
    assert summary(tmp_path / "run")["teacher_frames"] == sum(report.teacher_ran for report in reports)


# --- the same again ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_reports(whole: Path, tmp_path: Path, no_page: None) -> None:
    run(tmp_path / "again")
    assert lines(tmp_path / "again") == lines(whole)
    assert scores(tmp_path / "again") == scores(whole)


def test_resume_on_a_finished_run_changes_nothing(tmp_path: Path, no_page: None) -> None:
    path, config = tmp_path / "run", replace(CONFIG, outputs=("overlay", "rle"))
    run(path, config=config)
    before, video, macs = lines(path), (path / "labels.jsonl").read_bytes(), summary(path)["speedup_macs"]
    assert run(path, config=config, resume=True) == []
    assert lines(path) == before
    assert (path / "labels.jsonl").read_bytes() == video
    assert summary(path)["speedup_macs"] == macs is not None
    assert len(list(open_source(path / "labelled.mp4"))) == NUM


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size_wh": (31, 64)}, "--size 31x64: both sides must have 32 to 8192 pixels"),
        ({"size_wh": (64, 99999)}, "--size 64x99999: both sides must have 32 to 8192 pixels"),
        ({"score_every": -1}, "--score-every -1: must not be negative"),
        ({"checkpoint_every": 0}, "checkpoint_every = 0: must be at least 1"),
        ({"outputs": ("png", "none")}, "--output none: writes nothing, so it stands alone"),
        ({"outputs": ("png", "png")}, "--output png: is given twice"),
        ({"outputs": ("overlai",)}, r"--output overlai: .* \(did you mean 'overlay'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunConfig(source="a.mp4", teacher="embedded", **settings)


def test_the_next_frame_of_a_folder_without_a_checkpoint_is_the_first(tmp_path: Path) -> None:
    assert next_frame(tmp_path) == 0
