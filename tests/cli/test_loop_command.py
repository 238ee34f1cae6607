"""`narrowcast loop`, as typed."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.cli import _loop
from narrowcast.core.errors import UsageError

from .conftest import Cli

BACKBONE = """
def colours(images): return images.mean((1, 2))
colours.size_hw = (8, 8)
"""
FRAMES, POOL = ("--frames", "loop/frames"), ("--pool", "pool")
TEACHER = ("--teacher", "cli_teachers:colours")


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--num and --apart"):
        _loop.pick(tmp_path, tmp_path / "out", num=0, apart=1, as_json=False)
    with pytest.raises(UsageError, match="--first"):
        _loop.aside("x", tmp_path / "out", first=-1, every=1, num=1)


@pytest.fixture
def pool(stream: Cli, cli: Cli, here: Path) -> list[str]:
    """A streamed clip, picked frames, a pool of what is proposed for them; the names of its photos."""
    (here / "cli_backbones.py").write_text(BACKBONE)
    assert stream("--output", "lessons", "--set", "schedule.max_stride=4").code == 0
    picked = cli("loop", "pick", "run", "--out", "loop", "--num", "3", "--apart", "2")
    told = picked.out
    names = sorted(path.name for path in (here / "loop" / "proposals" / "photos").iterdir())
    assert f"{len(names)} proposals of labels, to judge" in told
    photos = "loop/proposals/photos"
    assert cli("mine", "index", photos, *POOL, "--backbone", "cli_backbones:colours", "--alone").code == 0
    return names


def frame_of(name: str) -> int:
    return int(name.split("-")[0])


def test_a_persons_verdicts_become_the_labels_that_a_student_learns(pool: list[str], cli: Cli, here: Path) -> None:
    frames = sorted({frame_of(name) for name in pool})
    both = next(frame for frame in frames if sum(frame_of(name) == frame for name in pool) > 1)
    right = [name for name in pool if frame_of(name) == both]
    cli("mine", "new", "right", *POOL, "--positives", right[-1])  # the teacher's
    cli("mine", "label", "right", "positive", *right[:-1], *POOL)  # and then another's, which counts
    cli("mine", "label", "right", "negative", *(name for name in pool if frame_of(name) != both), *POOL)
    told = json.loads(cli("loop", "label", *FRAMES, "--labels", "labels", "--judged", "pool", "--json").out)
    assert told == {
        "photos": len(pool), "right": len(right), "frames": 1, "several": 1, "without": len(frames) - 1, "waiting": 0,
    }  # fmt: skip
    (made,) = (here / "labels").glob("*.png")
    proposed = here / "loop" / "proposals" / "labels" / right[-2].replace(".jpg", ".png")
    assert made.name == f"{both:08}.png"
    assert (np.array(Image.open(made)) == np.array(Image.open(proposed))).all()


def test_a_teacher_judges_in_a_persons_place(pool: list[str], cli: Cli, here: Path) -> None:
    """This one is the stream's own, which scales its answers: what it said then is right, give or take an edge."""
    told = json.loads(cli("loop", "judge", *FRAMES, *POOL, *TEACHER, "--least", "0.6", "--json").out)
    assert told["photos"] == len(pool)
    said = cli("loop", "label", *FRAMES, "--labels", "labels", "--judged", "pool").out
    assert f"{told['right']} were right" in said
    cli("mine", "export", "right", *POOL, "--out", "said.csv")
    with (here / "said.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert sum(row["label"] == "positive" for row in rows) == told["right"] > 0
    assert all(row["label"] == "positive" for row in rows if row["path"].endswith("-teacher.jpg"))


def test_what_cannot_be_joined_is_one_line(pool: list[str], cli: Cli, here: Path) -> None:
    label = ("loop", "label", *FRAMES, "--labels", "labels")
    assert cli(*label).error.startswith("give either --judged")
    assert cli(*label, "--judged", "pool", *TEACHER).error.startswith("give either --judged")
    assert "no category 'right'" in cli(*label, "--judged", "pool").error
    cli("mine", "new", "right", *POOL, "--positives", pool[0])
    cli("mine", "label", "right", "negative", pool[0], *POOL)
    assert "was judged right" in cli(*label, "--judged", "pool").error
    assert "--least 2.0" in cli("loop", "judge", *FRAMES, *POOL, *TEACHER, "--least", "2").error
    (here / "other").mkdir()
    Image.new("RGB", (9, 9)).save(here / "other" / "x.png")
    cli("mine", "index", "other", "--pool", "elsewhere", "--backbone", "cli_backbones:colours")
    cli("mine", "new", "right", "--pool", "elsewhere", "--positives", "x.png")
    assert "--alone" in cli(*label, "--judged", "elsewhere").error


def test_options_that_fit_only_a_student_or_a_teacher_are_told_apart(cli: Cli, here: Path) -> None:
    words = ("loop", "retrain", "embedded", *FRAMES, "--labels", "labels", "--out", "new.safetensors")
    assert "--of nobody: expected student or teacher" in cli(*words, "--of", "nobody").error
    assert "--of teacher needs --classes" in cli(*words, "--of", "teacher").error
    assert "--classes has no effect on a student" in cli(*words, "--classes", "person").error
    teacher = ("--of", "teacher", "--classes", "person")
    assert "only embedded" in cli("loop", "retrain", "maskrcnn", *words[3:], *teacher).error
