"""From a stream to labels and back: what is picked and why, what is learned, and who wins."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fakes import CLASSES, flat_labels
from narrowcast.core.errors import ConfigError, SourceError, UsageError
from narrowcast.core.files import write_json
from narrowcast.fleet.picking import export, in_turns, ranked, set_aside
from narrowcast.fleet.retraining import Comparison, RetrainConfig, compare, label_frames, promote, retrain
from narrowcast.models.classes import parse_classes
from narrowcast.models.jitnet import JITNet
from narrowcast.models.student import save_student
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.apply import Adapted, load_adapted
from narrowcast.stream.events import Dispute
from narrowcast.video.labels import write_label_png

CPU = torch.device("cpu")


def report(frame: int, accuracy: float | None, after: float | None = None, updates: int = 0) -> dict:
    line = {"frame": frame, "time_s": frame / 10, "accuracy": accuracy, "updates": updates}
    return line | {"accuracy_after": accuracy if after is None else after}


RUN = [
    report(0, 0.9),
    report(1, None),
    report(10, 0.9),
    report(20, 0.4, after=0.9, updates=8),  # hard, and learned
    report(30, 0.9),
    report(40, 0.5),  # nothing was learned of it, and all around was right
    report(50, 0.9),
    report(60, 0.3, after=0.31, updates=2),  # learning did not help
    report(70, 0.9),
]


def dispute(frame: int, area: float) -> Dispute:
    nothing = np.zeros((1, 1), bool)
    return Dispute(frame, (0, 0, 1, 1), area, student_class=1, teacher_class=0, before=1.0, after=1.0, region=nothing)


FOUND = ranked(RUN, [dispute(40, 0.01), dispute(40, 0.02), dispute(10, 0.02)])


def test_reasons_hold_where_they_are_given_the_best_first() -> None:
    frames = {reason: [one.frame for one in found] for reason, found in FOUND.items()}
    assert frames == {"effort": [20, 60], "dispute": [40, 10], "unsure": [60]}
    assert [one.score for one in FOUND["dispute"]] == [0.03, 0.02]
    assert FOUND["effort"][0].updates == 8


def test_the_reasons_take_turns() -> None:
    assert [one.frame for one in in_turns(FOUND, num=3, apart=5)] == [20, 40, 60]
    assert [one.frame for one in in_turns(FOUND, num=1, apart=5)] == [20]


def test_frames_that_are_close_are_one() -> None:
    assert [one.frame for one in in_turns(FOUND, num=9, apart=25)] == [20, 60]
    assert in_turns(ranked([report(0, None)], []), num=3, apart=1) == []


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """8 frames with a bright square on the left or on the right, and their labels."""
    for ix in range(8):
        image = rng.integers(0, 40, (48, 64, 3), dtype=np.uint8)
        columns = slice(4, 24) if ix % 2 else slice(36, 60)
        image[10:40, columns] += 180
        (tmp_path / "frames").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "frames" / f"{ix:08}.png")
        labels = flat_labels(size_wh=(64, 48), block=(slice(10, 40), columns, 1))
        write_label_png(tmp_path / "labels" / f"{ix:08}.png", labels)
    (tmp_path / "labels" / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def adapted(tmp_path: Path) -> Adapted:
    torch.manual_seed(0)
    save_student(tmp_path / "old.safetensors", JITNet(len(CLASSES), width=0.25), CLASSES, meta={})
    return load_adapted(tmp_path / "old.safetensors")


def test_what_learned_the_labels_wins_and_is_put_in_place(images: Path, adapted: Adapted, tmp_path: Path) -> None:
    frames, labels, new = images / "frames", images / "labels", tmp_path / "new.safetensors"
    config = RetrainConfig(passes=12, learning_rate=5e-3)
    reports = list(retrain(adapted, frames, labels, new, config=config, size_wh=None, device=CPU))
    assert reports[-1].loss < reports[0].loss
    old = load_adapted(tmp_path / "old.safetensors")
    comparison = compare(old, load_adapted(new), frames, labels, size_wh=None, device=CPU)
    assert comparison.frames == 8
    assert comparison.new > comparison.old + 0.1
    place = tmp_path / "place.safetensors"
    place.write_bytes(b"before")
    assert promote(comparison, new, place, margin=0.05)
    assert place.read_bytes() == new.read_bytes()
    assert (tmp_path / "place.safetensors.before").read_bytes() == b"before"


def test_what_does_not_win_is_not_put_in_place(tmp_path: Path) -> None:
    assert not promote(Comparison(8, 0.7, 0.72), tmp_path / "new", tmp_path / "place", margin=0.05)
    assert not (tmp_path / "place").exists()


def test_what_does_not_fit_is_said(images: Path, adapted: Adapted, tmp_path: Path) -> None:
    frames, labels = images / "frames", images / "labels"
    with pytest.raises(ConfigError, match="must be positive"):
        RetrainConfig(passes=0)
    (labels / "classes.txt").write_text("background\ndog\n", encoding="utf-8")
    with pytest.raises(UsageError, match="other classes than those that are learned"):
        compare(adapted, adapted, frames, labels, size_wh=None, device=CPU)
    with pytest.raises(SourceError, match="no PNG"):
        label_frames(tmp_path, labels, BrightTeacher(), parse_classes("all", CLASSES))


class BrightTeacher:
    classes = CLASSES

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        return TeacherLabels((image_rgb[..., 0] > 100).astype(np.uint8))


def test_a_teacher_answers_in_a_persons_place(images: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert label_frames(images / "frames", made, BrightTeacher(), parse_classes("all", CLASSES)) == 8
    assert (made / "00000003.png").read_bytes() == (images / "labels" / "00000003.png").read_bytes()


def test_picked_frames_and_those_set_aside_become_photos(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_json(run / "run.json", {"config": {"source": str(images / "frames")}})
    lines = [report(ix, 0.9 - 0.1 * (ix == 4), after=0.9, updates=int(ix == 4)) for ix in range(8)]
    (run / "reports.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    picked = export(run, tmp_path / "picked", num=4, apart=1)
    with (tmp_path / "picked" / "frames.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [int(row["frame"]) for row in rows] == [one.frame for one in picked] == [4]
    assert (tmp_path / "picked" / rows[0]["path"]).exists()
    with pytest.raises(UsageError, match="picked frames already"):
        export(run, tmp_path / "picked", num=4, apart=1)
    assert set_aside(str(images / "frames"), tmp_path / "aside", first=2, every=3, num=5) == 2
    with pytest.raises(SourceError):
        export(tmp_path / "nothing", tmp_path / "x", num=4, apart=1)
