"""Students of places that come back: put aside, tried, taken where they are better, left in the zoo."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fakes import CLASSES, same_tensors, source_of
from narrowcast.core import checkpoint
from narrowcast.core.config import to_dict
from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.runs import RunFolder
from narrowcast.models.jitnet import JITNet
from narrowcast.models.student import load_student, save_student
from narrowcast.stream import live_run
from narrowcast.stream.event_log import EVENTS
from narrowcast.stream.learner import Learner, LearnerConfig, Sample
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.live_run import run_live
from narrowcast.stream.recall import RecallConfig, make_recall
from narrowcast.stream.student_zoo import StudentZoo
from narrowcast.stream.worth import Worth
from stream_runs import BRISK, CONFIG, IMAGES, LABELS, CountedTeacher, lines, run, scores, student, summary

CPU = torch.device("cpu")


def colours(images: np.ndarray) -> np.ndarray:
    """A backbone: the share of each colour channel."""
    return images.reshape(len(images), -1, 3).mean(1)


colours.size_hw = (8, 8)  # type: ignore[attr-defined]
BACKBONE = f"{__name__}:colours"


@pytest.fixture
def config(tmp_path: Path) -> RecallConfig:
    return RecallConfig(folder=str(tmp_path / "zoo"), backbone=BACKBONE, least_alike=0.97)


def tinted(image: np.ndarray, place: int) -> np.ndarray:
    """The picture in another light: another place, for that backbone; 1 and 2 also show other things."""
    gains = ((1, 0.2, 0.2), (0.2, 1, 0.2), (0.2, 0.2, 1))
    return (np.roll(image, 24 * place, 1) * np.array(gains[place])).astype(np.uint8)


def in_places(places: list[int], length: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames and labels of stretches in these places."""
    at = [(place, ix) for place in places for ix in range(length)]
    images = [tinted(IMAGES[ix], place) for place, ix in at]
    return images, [np.roll(LABELS[ix], 24 * place, 1) for place, ix in at]


# --- by itself --------------------------------------------------------------------------------------------------------


class Bench:
    """A learner, and its recall, that are shown teacher frames."""

    def __init__(self, config: RecallConfig, *, name: str = "run", worth: Worth | None = None) -> None:
        self.learner = Learner(student(), LearnerConfig(learning_rate=5e-3), device=CPU)
        self.worth = worth or Worth(trial=0, dearer=1.0, patience=0)
        self.recall = make_recall(config, CLASSES, run=Path(name), device=CPU)

    def show(self, place: int, *, updates: int = 0, jumps: bool = True):
        if jumps:
            self.recall.begin()
        image, labels = tinted(IMAGES[0], place), np.roll(LABELS[0], 24 * place, 1)
        sample = Sample(image, labels, np.ones_like(labels))
        visit = self.recall.attend(sample, self.learner, self.worth)
        for _ in range(updates):
            self.learner.attempt(sample).step()
        self.recall.taught(updates=updates, accuracy=0.5)
        return visit

    def spoil(self) -> None:
        """What is learned elsewhere ruins what was known."""
        with torch.no_grad():
            for parameter in self.learner.net.parameters():
                parameter.mul_(0.5)


def test_a_place_that_comes_back_has_its_student_again(config: RecallConfig) -> None:
    bench = Bench(config)
    first = bench.show(0, updates=8)
    assert (first.place, first.is_known, first.is_recalled) == ("run-1", False, False)
    learned = bench.learner.weights()
    assert bench.show(0) is None  # still there
    assert bench.show(1, updates=2).place == "run-2"
    bench.spoil()
    again = bench.show(0)
    assert (again.place, again.is_known, again.is_recalled) == ("run-1", True, True)
    assert again.loss_of_recalled < again.loss
    assert again.alike > 0.97
    assert same_tensors(bench.learner.weights(), learned)


def test_the_present_student_stays_where_it_is_better(config: RecallConfig) -> None:
    bench = Bench(config)
    bench.show(0, updates=1)
    bench.show(1, updates=0)
    for _ in range(8):  # it learns the first place elsewhere
        labels = LABELS[0]
        bench.learner.attempt(Sample(tinted(IMAGES[0], 0), labels, np.ones_like(labels))).step()
    present = bench.learner.weights()
    visit = bench.show(0)
    assert visit.is_known
    assert not visit.is_recalled
    assert visit.loss < visit.loss_of_recalled
    assert same_tensors(bench.learner.weights(), present)


def test_what_has_learned_nothing_is_not_put_aside(config: RecallConfig) -> None:
    bench = Bench(config)
    bench.show(0)
    bench.show(1)
    assert not bench.show(0).is_known
    assert bench.recall.leave(bench.learner, bench.worth) == 0


def test_a_change_without_a_jump_is_seen_too(config: RecallConfig) -> None:
    bench = Bench(config)
    bench.show(0, updates=1, jumps=False)
    for _ in range(9):
        bench.show(0, jumps=False)
    visits = [bench.show(2, jumps=False) for _ in range(8)]
    assert sum(visit is not None for visit in visits) == 1


def test_the_place_that_was_left_longest_ago_is_forgotten(config: RecallConfig) -> None:
    bench = Bench(replace(config, most=2))
    for place in (0, 1, 2):
        bench.show(place, updates=1)
    assert [place.name for place in bench.recall.places] == ["run-2", "run-3"]
    assert not bench.show(0).is_known


def test_a_run_leaves_its_students_and_the_next_recalls_them(config: RecallConfig) -> None:
    bench = Bench(config)
    bench.show(0, updates=6)
    learned = bench.learner.weights()
    bench.show(1, updates=3)
    assert bench.recall.leave(bench.learner, bench.worth) == 2
    net, classes, meta = load_student(Path(config.folder) / "run-1" / "student.safetensors")
    assert (classes, meta["updates"]) == (CLASSES, 6)
    assert same_tensors(net.state_dict(), learned)

    later = Bench(config)
    visit = later.show(0, updates=1)
    assert (visit.place, visit.is_recalled) == ("run-1", True)
    assert later.show(2, updates=1).place == "run-3"  # names that are there are not taken again
    later.recall.leave(later.learner, later.worth)
    assert [entry.name for entry, _ in StudentZoo(Path(config.folder), lambda: None).entries()] == [  # type: ignore[arg-type]
        "run-1",
        "run-2",
        "run-3",
    ]


def test_keys_leave_out_what_is_of_something_else(config: RecallConfig) -> None:
    bench = Bench(replace(config, time="day"))
    bench.show(0, updates=6)
    bench.recall.leave(bench.learner, bench.worth)
    assert not Bench(replace(config, time="night")).show(0).is_known
    assert Bench(replace(config, time="day")).show(0).is_known


def test_a_student_from_the_zoo_is_tried_at_once(config: RecallConfig) -> None:
    bench = Bench(config)
    bench.show(0, updates=8)
    bench.recall.leave(bench.learner, bench.worth)
    later = Bench(config, worth=Worth(trial=3, dearer=1.4, patience=16))
    assert later.worth.mode == "silent"
    assert later.show(0).is_recalled
    assert later.worth.mode == "trial"


def test_of_students_of_one_run_it_is_known_whether_they_were_heard(config: RecallConfig) -> None:
    bench = Bench(config, worth=Worth(trial=1, dearer=1.0, patience=0))
    bench.show(0, updates=8)
    bench.worth.add(student=0.9, moved=0.1, is_enough=False)
    assert bench.worth.mode == "speaking"
    bench.show(1, updates=1)
    bench.worth.add(student=0.1, moved=0.9, is_enough=False)
    bench.worth.add(student=0.1, moved=0.9, is_enough=False)
    bench.spoil()
    assert not bench.worth.speaks
    assert bench.show(0).is_recalled
    assert bench.worth.speaks


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["file", "other"])
def test_a_folder_that_is_no_zoo_is_said(tmp_path: Path, config: RecallConfig, what: str) -> None:
    folder = Path(config.folder)
    if what == "file":
        folder.write_text("x")
    else:
        (folder / "photos").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"--recall .*zoo"):
        make_recall(config, CLASSES, run=tmp_path / "run", device=CPU)


def test_students_of_other_networks_and_classes_are_said_and_left_out(
    config: RecallConfig, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(config)
    bench.show(0, updates=2)
    bench.recall.leave(bench.learner, bench.worth)
    path = Path(config.folder) / "run-1" / "student.safetensors"
    save_student(path, JITNet(len(CLASSES), width=0.5), CLASSES)
    assert not Bench(config).show(0).is_known
    assert "another network" in caplog.text
    path.write_bytes(b"nothing")
    assert not Bench(config).show(0).is_known
    assert "damaged" in caplog.text
    make_recall(config, ("background", "dog"), run=Path("run"), device=CPU)
    assert "none of its 1 students has the classes dog" in caplog.text


@pytest.mark.parametrize("wrong", [{"most": 0}, {"least_alike": 0.0}, {"least_alike": 1.5}])
def test_settings_out_of_range_are_said(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RecallConfig(folder="zoo", **wrong)  # type: ignore[arg-type]


# --- in a run ---------------------------------------------------------------------------------------------------------

PLACES, LENGTH = [0, 1, 0], 7


def run_in_places(path: Path, config: RecallConfig, *, images=None, **how):
    shown, labels = in_places(PLACES, LENGTH)
    wanted = replace(CONFIG, distill=BRISK, recall=config, score_every=0)
    many = {"images": shown if images is None else images, "teacher": CountedTeacher(labels)}
    return run(path, config=wanted, **many, **how)


def test_a_run_says_where_it_was(tmp_path: Path, config: RecallConfig) -> None:
    reports = run_in_places(tmp_path / "run", config)
    visits = [(report.frame, report.visit.place) for report in reports if report.visit is not None]
    assert visits == [(0, "run-1"), (7, "run-2"), (14, "run-1")]
    taken = [report for report in reports if report.visit is not None]
    assert all(report.teacher_ran for report in taken)  # the teacher is asked at once
    found = summary(tmp_path / "run")["recall"]
    assert (found["places"], found["visits"], found["recalled"]) == (2, 3, sum(r.visit.is_recalled for r in taken))
    logged = [json.loads(line) for line in (tmp_path / "run" / EVENTS).read_text().splitlines()]
    assert [(one["frame"], one["event"], one["place"]) for one in logged] == [(f, "place", p) for f, p in visits]
    written = [line["visit"]["place"] for line in lines(tmp_path / "run") if "visit" in line]
    assert written == [place for _, place in visits]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Places" in page
    assert "run-2" in page
    left = [entry.name for entry, _ in StudentZoo(Path(config.folder), lambda: None).entries()]  # type: ignore[arg-type]
    assert left == ["run-1", "run-2"]


def test_a_run_that_was_cut_off_goes_on_exactly(tmp_path: Path, config: RecallConfig, no_page: None) -> None:
    whole = replace(config, folder=str(tmp_path / "a" / "zoo"))
    parts = replace(config, folder=str(tmp_path / "b" / "zoo"))
    run_in_places(tmp_path / "a" / "run", whole)
    shown, _ = in_places(PLACES, LENGTH)
    run_in_places(tmp_path / "b" / "run", parts, images=shown[:10])
    run_in_places(tmp_path / "b" / "run", parts, resume=True)
    assert lines(tmp_path / "a" / "run") == lines(tmp_path / "b" / "run")
    assert scores(tmp_path / "a" / "run") == scores(tmp_path / "b" / "run")
    one, other = (checkpoint.load(tmp_path / side / "run" / "checkpoint.safetensors") for side in "ab")
    assert same_tensors(one[0], other[0])
    assert one[1]["distiller"]["recall"] == other[1]["distiller"]["recall"]
    events = [(tmp_path / side / "run" / EVENTS).read_text().splitlines() for side in "ab"]
    assert len(events[0]) == len(events[1]) == 3


def test_a_run_without_recall_has_none(tmp_path: Path, no_page: None) -> None:
    run(tmp_path / "run")
    assert summary(tmp_path / "run")["recall"] is None
    assert not (tmp_path / "run" / EVENTS).exists()


# --- live -------------------------------------------------------------------------------------------------------------


def test_a_live_run_recalls_too(tmp_path: Path, config: RecallConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_run, "write_report", lambda path: None)
    wanted = replace(CONFIG, distill=BRISK, recall=config, score_every=0, live=LiveConfig())
    shown, labels = in_places([0], 21)
    elsewhere, others = in_places([1], 21)
    order = [*[(0, ix) for ix in range(21)] * 2, *[(1, ix) for ix in range(21)] * 99]
    images = [(elsewhere if place else shown)[ix] for place, ix in order]
    teacher = CountedTeacher([(others if place else labels)[ix] for place, ix in order])
    seen: list[str] = []
    with RunFolder.open(tmp_path / "run", {"config": to_dict(wanted)}, resume=False) as folder:
        for report in run_live(
            source_of(images),
            student(),
            teacher,
            config=wanted,
            folder=folder,
            device=CPU,
            should_stop=lambda seen=seen: len(seen) >= 2,
        ):
            seen += [report.visit.place] if report.visit is not None else []
    assert seen == ["run-1", "run-2"]
    logged = [json.loads(line)["place"] for line in (tmp_path / "run" / EVENTS).read_text().splitlines()]
    assert logged == seen
    assert summary(tmp_path / "run")["gaps"] == 0
    assert (Path(config.folder) / "run-1" / "entry.json").exists()
