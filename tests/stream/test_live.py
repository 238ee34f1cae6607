"""Live runs: nothing waits for the teacher, what comes late is used, gaps are gaps, kills lose nothing but time."""

import copy
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import CLASSES, LookupTeacher, shapes, source_of
from narrowcast.core.config import to_dict
from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.core.frames import Frame
from narrowcast.core.runs import RunFolder, read_reports
from narrowcast.models.jitnet import JITNet
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream import live_run
from narrowcast.stream.distill import LEARNING, Distiller
from narrowcast.stream.event_log import EVENTS, EventLog
from narrowcast.stream.learner import LearnerConfig
from narrowcast.stream.live import LiveConfig, LiveDistiller
from narrowcast.stream.live_run import run_live
from narrowcast.stream.run import STUDENT, RunConfig, next_frame
from narrowcast.stream.schedule import StrideSchedule
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.trainer import LateLabels, LateLesson, Trainer
from narrowcast.video.source import FrameSource, open_source

CPU, NUM = torch.device("cpu"), 24
BRISK = replace(
    LEARNING,
    schedule=StrideSchedule(accuracy=0.99, min_stride=3, max_stride=6, max_updates=2),
    replay=3,
    learner=LearnerConfig(learning_rate=3e-3),
)
CONFIG = RunConfig(source="memory", teacher="lookup", distill=BRISK, outputs=(), checkpoint_every=5, live=LiveConfig())
FRAMES, LABELS = shapes(NUM)
IMAGES = [frame.image_rgb for frame in FRAMES]


class GatedTeacher(LookupTeacher):
    """Answers when it is told to."""

    def __init__(self, labels: Sequence[np.ndarray]) -> None:
        super().__init__(labels)
        self.gate = threading.Event()

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        assert self.gate.wait(10)
        return super().__call__(image_rgb, frame_index=frame_index)


class FailingTeacher(LookupTeacher):
    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        raise SourceError("the teacher is out of order")


def student() -> JITNet:
    torch.manual_seed(0)
    return JITNet(len(CLASSES), width=0.25)


def run(path: Path, *, config: RunConfig = CONFIG, resume: bool = False, **how: Any) -> list[StreamReport]:
    with RunFolder.open(path, {"config": to_dict(config)}, resume=resume) as folder:
        return list(running(folder, config=config, **how))


def running(
    folder: RunFolder,
    *,
    config: RunConfig = CONFIG,
    teacher: LookupTeacher | None = None,
    source: FrameSource | None = None,
    **how: Any,
) -> Iterator[StreamReport]:
    source = source or source_of(IMAGES, start_index=next_frame(folder.path))
    return run_live(
        source, student(), teacher or LookupTeacher(LABELS), config=config, folder=folder, device=CPU, **how
    )


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


@pytest.fixture(autouse=True)
def _no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_run, "write_report", lambda path: None)


# --- nothing waits ----------------------------------------------------------------------------------------------------


def test_frames_are_labelled_while_the_teacher_thinks(tmp_path: Path) -> None:
    teacher, seen = GatedTeacher(LABELS), []
    with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=False) as folder:
        for report in running(folder, teacher=teacher):
            seen.append(report.frame)
            if report.frame == NUM - 1:
                assert not teacher.asked  # it has not answered once
                teacher.gate.set()
    assert seen == list(range(NUM))
    assert summary(tmp_path / "run")["dropped_frames"] == 0


def test_a_run_leaves_what_any_run_leaves_and_how_late_it_was(tmp_path: Path) -> None:
    config, reports = replace(CONFIG, outputs=("overlay",), live=LiveConfig(is_paced=True)), []
    with RunFolder.open(tmp_path / "run", {"config": to_dict(config)}, resume=False) as folder:
        many = {"source": source_of(IMAGES * 99), "teacher": LookupTeacher(LABELS * 99)}
        for report in running(
            folder, config=config, **many, should_stop=lambda: sum(one.teacher_ran for one in reports) >= 3
        ):
            reports.append(report)
    found, lines = summary(tmp_path / "run"), list(read_reports(tmp_path / "run"))
    assert found["status"] == "interrupted"
    assert found["frames"] == len(reports)
    assert found["teacher_frames"] == sum(report.teacher_ran for report in reports) > 0
    assert found["updates"] == sum(line["updates"] for line in lines) > 0
    assert found["swaps"] == sum(line["is_swapped"] for line in lines) > 0
    assert 0 < found["latency_ms_p50"] <= found["latency_ms_p99"]
    assert found["labels_age_p50"] is not None
    assert found["speedup"] is None
    assert found["scored_frames"] > 0
    with open_source(tmp_path / "run" / "labelled.mp4") as video:
        assert sum(1 for _ in video) == found["frames"]
    assert (tmp_path / "run" / STUDENT).exists()


def test_dropped_frames_are_counted_where_they_are_missing(tmp_path: Path) -> None:
    config = replace(CONFIG, live=LiveConfig(when_late="drop-oldest", is_paced=True))
    with RunFolder.open(tmp_path / "run", {"config": to_dict(config)}, resume=False) as folder:
        for report in running(folder, config=config, source=source_of(IMAGES, fps=Fraction(200))):
            time.sleep(0.03 if report.frame < 12 else 0)
    lines, found = list(read_reports(tmp_path / "run")), summary(tmp_path / "run")
    assert found["dropped_frames"] == NUM - len(lines) > 0
    missing = [line["frame"] - before["frame"] - 1 for before, line in itertools.pairwise(lines)]
    assert [line["dropped"] for line in lines[1:]] == missing


def test_what_the_teacher_raises_ends_the_run_with_all_frames_kept(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="out of order"):
        run(tmp_path / "run", teacher=FailingTeacher(LABELS), source=source_of(IMAGES * 20))
    assert summary(tmp_path / "run")["status"] == "failed"
    assert summary(tmp_path / "run")["frames"] == len(list(read_reports(tmp_path / "run"))) > 0


def test_scores_of_every_frame_with_labels_that_are_there(tmp_path: Path) -> None:
    run(tmp_path / "run", config=replace(CONFIG, score_every=2), scorer=LookupTeacher(LABELS))
    lines = list(read_reports(tmp_path / "run"))
    assert [line["frame"] for line in lines if "miou" in line] == list(range(0, NUM, 2))
    assert summary(tmp_path / "run")["scored_frames"] == NUM // 2


# --- late answers -----------------------------------------------------------------------------------------------------


def stepping(teacher: LookupTeacher) -> tuple[LiveDistiller, Trainer]:
    distiller = Distiller(student(), teacher, BRISK, size_wh=None, device=CPU)
    trainer = Trainer(distiller, budget=0, num_threads=1)
    return LiveDistiller(distiller, trainer), trainer


def step(live: LiveDistiller, frame: Frame) -> StreamReport:
    return live.step(frame, arrived_s=time.monotonic()).report


def test_late_labels_are_moved_to_the_frame_they_find_and_the_lesson_is_told_there() -> None:
    teacher = GatedTeacher(LABELS)
    live, trainer = stepping(teacher)
    with trainer:
        first = [step(live, frame) for frame in FRAMES[:4]]
        teacher.gate.set()
        trainer.wait()
        after = step(live, FRAMES[4])
    assert all(report.live and report.live.labels_age is None for report in first)
    assert teacher.asked[:1] == [0]
    assert after.live is not None
    assert (after.live.taught_frame, after.live.labels_age, after.teacher_ran) == (0, 4, True)
    assert (after.live.is_swapped, after.live.weights_age) == (True, 4)
    assert after.updates > 0
    assert after.accuracy is not None
    assert {"student", "latency", "teacher", "learning", "update"} == after.timings_ms.keys()


def test_the_teacher_is_asked_earlier_where_it_answers_late() -> None:
    """Labels must be as old on average as they would be without a delay, so that is taken off the stride twice."""
    live, trainer = stepping(LookupTeacher(LABELS))
    with trainer:
        live._asked, live.stride, live._delay = FRAMES[0], 8, 2.0
        assert not live.is_due(3)
        assert live.is_due(4)
        live._delay = 50.0
        assert live.is_due(1)


def test_a_teacher_that_is_free_is_asked_unless_it_must_be_due() -> None:
    live, trainer = stepping(LookupTeacher(LABELS))
    with trainer:
        live._asked, live.stride = FRAMES[0], 8
        assert live._can_ask(1)
        live.asks = "due"
        assert not live._can_ask(1)
        live.asks = "free"
        trainer.allowance.is_resting = True  # what it keeps to a budget with
        assert not live._can_ask(1)


def test_an_answer_of_before_a_gap_is_learned_but_not_moved_across() -> None:
    teacher = GatedTeacher(LABELS)
    live, trainer = stepping(teacher)
    with trainer:
        for frame in FRAMES[:3]:
            step(live, frame)
        behind_gap = step(live, replace(FRAMES[3], is_after_gap=True))
        teacher.gate.set()
        trainer.wait()
        after = step(live, FRAMES[4])  # asks anew
        trainer.wait()
        later = step(live, FRAMES[5])
    assert behind_gap.live is not None
    assert behind_gap.live.is_after_gap
    assert after.live is not None
    assert (after.live.taught_frame, after.live.labels_age) == (0, None)
    assert teacher.asked[:2] == [0, 4]
    assert later.live is not None
    assert (later.live.taught_frame, later.live.labels_age) == (4, 1)


def test_no_sample_is_told_of_labels_from_before_a_gap() -> None:
    live, trainer = stepping(LookupTeacher(LABELS))
    with trainer:
        for frame in FRAMES[:8]:
            step(live, frame)
            trainer.wait()
        step(live, replace(FRAMES[8], is_after_gap=True))
        trainer.wait()
        assert live.distiller.replay._samples[-1].prior is None


@pytest.mark.parametrize(
    ("frame", "is_gap"),
    [
        pytest.param(FRAMES[4], False, id="the next frame"),
        pytest.param(replace(FRAMES[4], time_s=FRAMES[3].time_s + 3), True, id="three seconds later"),
        pytest.param(replace(FRAMES[4], image_rgb=FRAMES[4].image_rgb[:40]), True, id="another size"),
    ],
)
def test_what_counts_as_a_gap(frame: Frame, is_gap: bool) -> None:
    live, trainer = stepping(LookupTeacher([*LABELS[:4], LABELS[4][: frame.image_rgb.shape[0]]]))
    with trainer:
        for before in FRAMES[2:4]:
            step(live, before)
        facts = step(live, frame).live
    assert facts is not None
    assert facts.is_after_gap is is_gap


def test_weights_are_taken_over_whole_and_both_copies_go_round() -> None:
    live, trainer = stepping(LookupTeacher(LABELS))
    seen = set()
    with trainer:
        for frame in FRAMES[:18]:
            step(live, frame)
            seen.add(id(live._copy))
            trainer.wait()
            learned = live.learner.predict(frame.image_rgb, None)
        last = trainer.exchange(live._copy)
        np.testing.assert_array_equal(live.learner.predict_with(last.net, FRAMES[17].image_rgb, None), learned)
    assert len(seen) == 2
    assert live.num_swaps >= 3


def test_news_come_in_order_and_the_labels_before_the_lesson() -> None:
    live, trainer = stepping(LookupTeacher(LABELS))
    with trainer:
        step(live, FRAMES[0])
        trainer.wait()
        assert not trainer.is_free  # nobody has heard of it yet
        assert [type(news) for news in trainer.news()] == [LateLabels, LateLesson]
        assert trainer.is_free


# --- runs that go on --------------------------------------------------------------------------------------------------


def test_a_run_that_stopped_anywhere_goes_on_with_every_frame_once(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", {"config": to_dict(CONFIG)}, resume=False) as folder:
        reports = running(folder)
        for report in reports:
            if report.frame == 13:
                break
        reports.close()  # type: ignore[attr-defined]  # as a kill: nothing is finished
    assert not (tmp_path / "run" / "summary.json").exists()
    assert 0 < next_frame(tmp_path / "run") <= 14
    run(tmp_path / "run", resume=True)
    assert [line["frame"] for line in read_reports(tmp_path / "run")] == list(range(NUM))
    assert summary(tmp_path / "run")["frames"] == NUM


def test_the_log_of_events_is_rewound_with_the_run(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.rewind(0)
    for index in (3, 9):
        log.add(FRAMES[index], "gap", away_s=1.5)
    log.rewind(9)
    assert [json.loads(line)["frame"] for line in (tmp_path / EVENTS).read_text().splitlines()] == [3]


def test_a_gap_is_an_event(tmp_path: Path) -> None:
    source = source_of(IMAGES)
    frames = [replace(frame, is_after_gap=frame.index == 9) for frame in source]
    source._frames = iter(frames)  # type: ignore[assignment]
    source.close = lambda: None  # type: ignore[method-assign]
    run(tmp_path / "run", source=source)
    (event,) = [json.loads(line) for line in (tmp_path / "run" / EVENTS).read_text().splitlines()]
    assert (event["event"], event["frame"]) == ("gap", 9)
    assert summary(tmp_path / "run")["gaps"] == 1


@pytest.mark.parametrize("settings", [{"budget": -1.0}, {"num_threads": -1}, {"keep_min": -1.0}], ids=str)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LiveConfig(**settings)


def test_the_synchronous_run_asks_at_once_after_a_gap() -> None:
    teacher = LookupTeacher(LABELS)
    distiller = Distiller(copy.deepcopy(student()), teacher, BRISK, size_wh=None, device=CPU)
    for frame in FRAMES[:5]:
        distiller.step(frame)
    report = distiller.step(replace(FRAMES[5], is_after_gap=True))
    assert report.teacher_ran
    assert distiller.replay._samples[-1].prior is None
