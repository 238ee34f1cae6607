"""Runs into a folder: what is in it, the same run twice, and runs that were cut off and go on."""

import copy
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fakes import CLASSES, FPS, SIZE_WH, LookupTeacher, MemoryReader, flat_labels, same_tensors, shapes, source_of
from narrowcast.core import checkpoint
from narrowcast.core.config import to_dict
from narrowcast.core.errors import DivergedError, SourceError, StorageError, UsageError
from narrowcast.core.frames import IGNORE
from narrowcast.core.runs import RunFolder, read_reports
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.jitnet import JITNet
from narrowcast.models.student import load_student
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.stream import run as run_module
from narrowcast.stream.distill import LEARNING, StreamReport
from narrowcast.stream.learner import Learner, LearnerConfig, Sample
from narrowcast.stream.run import CHECKPOINT, STUDENT, RunConfig, next_frame, run_stream
from narrowcast.stream.schedule import StrideSchedule
from narrowcast.stream.targets import component_boxes, pixel_weights
from narrowcast.video.reader import Picture
from narrowcast.video.source import FrameSource, open_source

CPU = torch.device("cpu")
NUM = 21
BRISK = replace(
    LEARNING,
    schedule=StrideSchedule(min_stride=3, max_stride=6, max_updates=2),
    replay=3,
    learner=LearnerConfig(learning_rate=3e-3),
)
CONFIG = RunConfig(
    source="memory", teacher="lookup", distill=BRISK, outputs=(), checkpoint_every=5, score_every=2, seed=3
)
CONTRACT = {
    "frames",
    "teacher_frames",
    "updates",
    "miou_pooled",
    "miou_per_frame",
    "miou_pooled_without_teacher_frames",
    "iou_per_class",
    "student_ms_p50",
    "student_ms_p99",
    "update_ms_p50",
    "teacher_ms_p50",
    "total_s",
    "teacher_every_frame_s",
    "speedup",
    "speedup_macs",
}


class CountedTeacher(LookupTeacher):
    """Says what a call costs, as a teacher with a card does."""

    card = SimpleNamespace(macs=3e6)


FRAMES, LABELS = shapes(NUM)
IMAGES = [frame.image_rgb for frame in FRAMES]


@cache
def warm_student() -> JITNet:
    """A student that has seen the scene a little: what it says is neither nothing nor right."""
    torch.manual_seed(0)
    learner = Learner(JITNet(len(CLASSES), width=0.25), LearnerConfig(learning_rate=5e-3), device=CPU)
    for ix in np.random.default_rng(0).integers(0, NUM, 60):
        weights = pixel_weights(LABELS[ix], component_boxes(LABELS[ix]))
        learner.attempt(Sample(IMAGES[ix], LABELS[ix], weights)).step()
    assert isinstance(learner.net, JITNet)
    return learner.net


def student() -> JITNet:
    return copy.deepcopy(warm_student())


def running(
    folder: RunFolder,
    *,
    config: RunConfig = CONFIG,
    images: Sequence[np.ndarray] = IMAGES,
    teacher: Teacher | None = None,
    **how: Any,
) -> Iterator[StreamReport]:
    return run_stream(
        source_of(images, start_index=next_frame(folder.path)),
        student(),
        teacher or CountedTeacher(LABELS),
        config=config,
        folder=folder,
        device=CPU,
        **how,
    )


def run(path: Path, *, config: RunConfig = CONFIG, resume: bool = False, **how: Any) -> list[StreamReport]:
    with RunFolder.open(path, {"config": to_dict(config)}, resume=resume) as folder:
        return list(running(folder, config=config, **how))


def lines(path: Path) -> list[dict[str, Any]]:
    """The reports without what differs from run to run."""
    return [report | {"timings_ms": sorted(report["timings_ms"])} for report in read_reports(path)]


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def scores(path: Path) -> dict[str, Any]:
    """The summary without times."""
    return {name: value for name, value in summary(path).items() if not ("_ms" in name or name.endswith(("_s", "up")))}


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without report.html, which takes most of the time of a short run and has tests of its own."""
    monkeypatch.setattr(run_module, "write_report", lambda path: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run from the first frame to the last, with video and run lengths."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    run(path, config=replace(CONFIG, outputs=("overlay", "rle")))
    return path


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


# --- runs that are cut off --------------------------------------------------------------------------------------------


class FailingTeacher(CountedTeacher):
    """Breaks down on one frame."""

    def __init__(self, labels: Sequence[np.ndarray], *, fails_at: int) -> None:
        super().__init__(labels)
        self.fails_at = fails_at

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        if frame_index is not None and frame_index >= self.fails_at:
            raise StorageError("the teacher broke down")
        return super().__call__(image_rgb, frame_index=frame_index)


def abandon(path: Path, config: RunConfig) -> list[StreamReport]:
    """The caller loses interest after 13 frames."""
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        reports = running(folder, config=config)
        seen = list(itertools.islice(reports, 13))
        reports.close()  # type: ignore[attr-defined]
    return seen


def fail(path: Path, config: RunConfig) -> list[StreamReport]:
    """An error in the middle of a frame."""
    seen = []
    with (
        RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder,
        pytest.raises(StorageError, match="broke down"),
    ):
        for report in running(folder, config=config, teacher=FailingTeacher(LABELS, fails_at=12)):
            seen.append(report)
    return seen


def kill(path: Path, config: RunConfig) -> list[StreamReport]:
    """What `kill -9` leaves: lines and files that are cut off, nothing closed."""
    seen = abandon(path, config)
    for name in ("reports.jsonl", "labels.jsonl"):
        with (path / name).open("ab") as file:
            file.write(b'{"frame":13,"time_s":0.5')
    for part in (path / "parts").glob("part-00000010.mp4"):
        part.rename(part.with_name(".part-00000010.mp4.4711.tmp"))
    return seen


def stop_early(path: Path, config: RunConfig) -> list[StreamReport]:
    """Killed before the first checkpoint."""
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        reports = running(folder, config=config)
        seen = list(itertools.islice(reports, 3))
        reports.close()  # type: ignore[attr-defined]
    return seen


CUTS = [
    pytest.param(abandon, id="abandoned"),
    pytest.param(fail, id="an error"),
    pytest.param(kill, id="as kill -9 leaves it"),
    pytest.param(stop_early, id="before the first checkpoint"),
]


@pytest.mark.parametrize("cut_off", CUTS)
def test_a_run_that_was_cut_off_goes_on_without_gap_or_double(
    cut_off: Callable[[Path, RunConfig], list[StreamReport]], whole: Path, tmp_path: Path, no_page: None
) -> None:
    path, config = tmp_path / "run", replace(CONFIG, outputs=("overlay", "rle"))
    before = cut_off(path, config)
    assert not (path / "summary.json").exists()
    assert next_frame(path) == len(before) // 5 * 5
    after = run(path, config=config, resume=True)
    assert [report.frame for report in after] == list(range(len(before) // 5 * 5, NUM))
    assert lines(path) == lines(whole)
    assert scores(path) == scores(whole)
    assert (path / "labels.jsonl").read_bytes() == (whole / "labels.jsonl").read_bytes()
    assert same_tensors(checkpoint.load(path / CHECKPOINT)[0], checkpoint.load(whole / CHECKPOINT)[0])
    with open_source(path / "labelled.mp4") as video:
        assert [frame.time_s for frame in video] == [frame.time_s for frame in FRAMES]
    assert not (path / "parts").exists()


def test_a_run_can_be_cut_off_again_and_again(tmp_path: Path, whole: Path, no_page: None) -> None:
    for attempt in range(5):
        with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=attempt > 0) as folder:
            reports = running(folder)
            list(itertools.islice(reports, 6))
            reports.close()  # type: ignore[attr-defined]
    run(tmp_path / "run", resume=True)
    assert lines(tmp_path / "run") == lines(whole)
    assert scores(tmp_path / "run") == scores(whole)


def test_total_time_goes_on_after_a_cut(tmp_path: Path, no_page: None) -> None:
    path = tmp_path / "run"
    abandon(path, CONFIG)
    before_s = checkpoint.load(path / CHECKPOINT)[1]["total_s"]
    started = time.perf_counter()
    run(path, resume=True)
    total_s = summary(path)["total_s"]
    assert before_s < total_s <= before_s + time.perf_counter() - started


def test_should_stop_ends_a_run_cleanly_and_it_goes_on(tmp_path: Path, whole: Path, no_page: None) -> None:
    path, config = tmp_path / "run", replace(CONFIG, outputs=("overlay",))
    seen: list[int] = []
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        for report in running(folder, config=config, should_stop=lambda: len(seen) == 7):
            seen.append(report.frame)
    assert seen == list(range(7))
    assert (summary(path)["status"], summary(path)["frames"], next_frame(path)) == ("interrupted", 7, 7)
    assert len(list(open_source(path / "labelled.mp4"))) == 7
    assert (path / STUDENT).exists()
    run(path, config=config, resume=True)
    assert summary(path)["status"] == "finished"
    assert lines(path) == lines(whole)
    assert len(list(open_source(path / "labelled.mp4"))) == NUM


@pytest.mark.parametrize("cut_off", [abandon, fail])
def test_a_cut_leaves_no_threads(
    cut_off: Callable[[Path, RunConfig], list[StreamReport]], tmp_path: Path, no_page: None
) -> None:
    before = threading.active_count()
    cut_off(tmp_path / "run", replace(CONFIG, outputs=("overlay",)))
    assert threading.active_count() == before


def test_a_run_does_not_go_on_with_other_settings(tmp_path: Path, no_page: None) -> None:
    abandon(tmp_path / "run", CONFIG)
    for other, message in [
        (replace(CONFIG, seed=4), "seed = 3, not 4"),
        (replace(CONFIG, size_wh=(64, 48)), "size_wh = None, not"),
        (replace(CONFIG, distill=replace(BRISK, min_area=0.0)), r"distill.min_area = 0.0005, not 0.0;"),
    ]:
        with pytest.raises(UsageError, match=message):
            run(tmp_path / "run", config=other, resume=True)
    assert next_frame(tmp_path / "run") == 10


def test_a_second_process_is_refused_while_a_run_goes_on(tmp_path: Path, no_page: None) -> None:
    with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=False) as folder:
        reports = running(folder)
        next(reports)
        with pytest.raises(UsageError, match="another process is writing this run"):
            RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=True)
        assert len(list(reports)) == NUM - 1


# --- sources of all kinds ---------------------------------------------------------------------------------------------


def test_a_source_whose_frame_size_changes_on_the_way_and_that_is_cut_off_there(tmp_path: Path, no_page: None) -> None:
    """Parts of several sizes could not be joined; the video keeps the size of the first frame."""
    config = replace(CONFIG, outputs=("overlay", "png"))
    more, more_labels = shapes(NUM, size_wh=(83, 35))
    images = [*IMAGES[:8], *(frame.image_rgb for frame in more[8:])]
    teacher = CountedTeacher([*LABELS[:8], *more_labels[8:]])
    path = tmp_path / "run"
    with RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder:
        reports = running(folder, config=config, images=images, teacher=teacher)
        assert len(list(itertools.islice(reports, 12))) == 12
        reports.close()  # type: ignore[attr-defined]
    after = run(path, config=config, images=images, teacher=teacher, resume=True)
    assert {report.labels.shape for report in after} == {(35, 83)}
    with open_source(path / "labelled.mp4") as video:
        frames = list(video)
    assert [frame.time_s for frame in frames] == [k / FPS for k in range(NUM)]
    assert {frame.image_rgb.shape for frame in frames} == {(48, 64, 3)}
    assert len(list((path / "labels").glob("*.png"))) == NUM


@pytest.mark.parametrize("size_wh", [(67, 51), (33, 40)], ids=str)
def test_odd_sizes(size_wh: tuple[int, int], tmp_path: Path, no_page: None) -> None:
    frames, labels = shapes(7, size_wh=size_wh)
    config = replace(CONFIG, outputs=("side-by-side", "png", "rle"))
    images = [frame.image_rgb for frame in frames]
    reports = run(tmp_path / "run", config=config, images=images, teacher=CountedTeacher(labels))
    assert {report.labels.shape for report in reports} == {(size_wh[1], size_wh[0])}
    with open_source(tmp_path / "run" / "labelled.mp4") as video:
        assert video.size_wh == (2 * size_wh[0], size_wh[1] + size_wh[1] % 2)
        assert len(list(video)) == 7


def test_the_students_own_size(tmp_path: Path, no_page: None) -> None:
    config = replace(CONFIG, size_wh=(48, 32), outputs=("png",), score_every=1)
    reports = run(tmp_path / "run", config=config, images=IMAGES[:8])
    assert {report.prediction.shape for report in reports} == {(32, 48)}
    assert summary(tmp_path / "run")["scored_frames"] == 8
    assert summary(tmp_path / "run")["speedup_macs"] is not None


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    config = replace(CONFIG, outputs=("overlay", "png", "rle"))
    reports = run(tmp_path / "run", config=config, images=IMAGES[:1])
    assert [report.frame for report in reports] == [0]
    found = summary(tmp_path / "run")
    assert (found["frames"], found["teacher_frames"], found["scored_frames"]) == (1, 1, 1)
    assert found["miou_pooled_without_teacher_frames"] is None
    assert len(list(open_source(tmp_path / "run" / "labelled.mp4"))) == 1
    assert (tmp_path / "run" / "report.html").exists()


def test_a_teacher_that_knows_nothing(tmp_path: Path) -> None:
    config = replace(CONFIG, outputs=("overlay", "rle"))
    run(tmp_path / "run", config=config, images=IMAGES[:8], teacher=CountedTeacher([flat_labels(IGNORE)] * 8))
    found = summary(tmp_path / "run")
    assert (found["updates"], found["update_ms_p50"], found["miou_pooled"]) == (0, None, None)
    assert found["iou_per_class"] == {"round": None, "square": None}
    assert (tmp_path / "run" / "report.html").exists()


def test_a_disk_that_is_full_ends_the_run_and_it_goes_on(
    tmp_path: Path, whole: Path, no_page: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    saved = checkpoint.save

    def full(target: Path, tensors: Any, *, meta: Any) -> None:
        if meta["next_frame"] == 15:
            raise StorageError(f"{target}: cannot be written: No space left on device")
        saved(target, tensors, meta=meta)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        run(path)
    assert next_frame(path) == 10
    monkeypatch.setattr(checkpoint, "save", saved)
    run(path, resume=True)
    assert lines(path) == lines(whole)


class ShortTeacher(CountedTeacher):
    """Has no answer from frame 9 on."""

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        if frame_index is not None and frame_index >= 9:
            raise SourceError("masks: no mask for this frame")
        return super().__call__(image_rgb, frame_index=frame_index)


class FailingReader(MemoryReader):
    """The eighth image is damaged."""

    def pictures(self) -> Iterator[Picture]:
        yield from itertools.islice(super().pictures(), 7)
        raise SourceError("008.png: not an image")


def broken_source(folder: RunFolder, config: RunConfig) -> Iterator[StreamReport]:
    source = FrameSource(FailingReader(IMAGES))
    return run_stream(source, student(), CountedTeacher(LABELS), config=config, folder=folder, device=CPU)


def broken_teacher(folder: RunFolder, config: RunConfig) -> Iterator[StreamReport]:
    return running(folder, config=config, teacher=ShortTeacher(LABELS))


@pytest.mark.parametrize(("begin", "num_kept"), [(broken_source, 7), (broken_teacher, 9)])
def test_what_came_before_a_failure_of_source_or_teacher_is_kept(
    begin: Callable[[RunFolder, RunConfig], Iterator[StreamReport]],
    num_kept: int,
    tmp_path: Path,
    whole: Path,
    no_page: None,
) -> None:
    """A missing mask left no video, no summary and no student, however many frames came before it."""
    path, config = tmp_path / "run", replace(CONFIG, outputs=("overlay", "rle"), score_every=0)
    with (
        RunFolder.open(path, {"config": to_dict(config)}, resume=False) as folder,
        pytest.raises(SourceError, match=r"no mask|not an image"),
    ):
        list(begin(folder, config))
    assert (summary(path)["status"], summary(path)["frames"]) == ("failed", num_kept)
    assert next_frame(path) == num_kept == len(list(open_source(path / "labelled.mp4")))
    run(path, config=config, resume=True)
    assert summary(path)["status"] == "finished"
    assert [line["stride"] for line in lines(path)] == [line["stride"] for line in lines(whole)]
    assert len(list(open_source(path / "labelled.mp4"))) == NUM


def test_a_student_that_diverged_is_not_kept(tmp_path: Path, no_page: None) -> None:
    config = replace(CONFIG, distill=replace(BRISK, learner=LearnerConfig(learning_rate=1e30)))
    with pytest.raises(DivergedError, match=r"try a lower learner\.learning_rate"):
        run(tmp_path / "run", config=config)
    assert not (tmp_path / "run" / STUDENT).exists()


def test_a_camera_that_sends_nothing_can_be_stopped(tmp_path: Path, no_page: None) -> None:
    """Ctrl-C was heard after the next frame only, which a camera may never send."""
    stopped, asked = threading.Event(), itertools.count()

    class SilentReader(MemoryReader):
        def pictures(self) -> Iterator[Picture]:
            yield from itertools.islice(super().pictures(), 3)
            stopped.wait(30)

        def stop(self) -> None:
            stopped.set()

    seen: list[int] = []
    with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=False) as folder:
        for report in run_stream(
            FrameSource(SilentReader(IMAGES)),
            student(),
            CountedTeacher(LABELS),
            config=CONFIG,
            folder=folder,
            device=CPU,
            should_stop=lambda: len(seen) == 3 and next(asked) > 0,  # not right after the frame
        ):
            seen.append(report.frame)
    assert stopped.is_set()
    assert (summary(tmp_path / "run")["status"], summary(tmp_path / "run")["frames"]) == ("interrupted", 3)


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path, no_page: None) -> None:
    """`total_s` grew with every look at a finished run."""
    config = replace(CONFIG, outputs=("overlay", "rle"))
    run(tmp_path / "run", config=config)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    assert run(tmp_path / "run", config=config, resume=True) == []
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()} == before
    assert tmp_path / "run" / "labelled.mp4" in before


def test_reports_that_do_not_reach_the_checkpoint_are_an_error(tmp_path: Path, no_page: None) -> None:
    """A summary of no frames was written over that of all."""
    run(tmp_path / "run")
    (tmp_path / "run" / "reports.jsonl").write_text(json.dumps({"frame": 0}) + "\n")
    with pytest.raises(StorageError, match=f"has reports of 1 frames and a checkpoint after {NUM}"):
        run(tmp_path / "run", resume=True)
    assert summary(tmp_path / "run")["frames"] == NUM


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
