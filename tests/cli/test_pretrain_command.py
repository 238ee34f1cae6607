"""`narrowcast stream pretrain`: from images to a student; what is wrong is said before images are labelled."""

import json
import signal
from pathlib import Path

import pytest
from PIL import Image

from narrowcast.core.training import CHECKPOINT
from narrowcast.models.student import load_student
from narrowcast.stream import labelling
from narrowcast.video.synth import moving_shapes

from .conftest import Answer, Cli

TINY = ["training.steps=4", "training.batch_size=2", "training.report_every=2", "training.checkpoint_every=100"]
TINY += ["compose.size=64", "pretrain.num_workers=0", "pretrain.held_out=0.2"]


@pytest.fixture
def pretrain(cli: Cli, here: Path) -> Cli:
    """`pretrain("--seed", "1")` trains on six images of shapes; what is given comes last and counts."""
    (here / "photos").mkdir()
    for frame, _ in moving_shapes(num_frames=6, size_wh=(64, 48), seed=1):
        Image.fromarray(frame.image_rgb).save(here / "photos" / f"{frame.index}.png")
    settings = [word for setting in TINY for word in ("--set", setting)]

    def call(*words: str | Path, teacher: str | None = "cli_teachers:colours") -> Answer:
        named = () if teacher is None else ("--teacher", teacher)
        folders = ("--images", "photos", "--labels", "labels", "--out", "out", "--device", "cpu")
        return cli("stream", "pretrain", *folders, *named, *settings, *words)

    return call


def test_a_student_comes_out(pretrain: Cli) -> None:
    answer = pretrain()
    assert answer.code == 0, answer.err
    assert answer.out.startswith("out/student.safetensors: mean IoU 0.")
    assert "label  6/6  100%" in answer.err
    assert "pretrain jitnet  4/4  100%  loss " in answer.err
    assert load_student(Path("out/student.safetensors"))[1] == ("background", "red", "green", "blue")
    again = pretrain("--json", teacher=None)  # the labels are there
    assert json.loads(again.out) == json.loads(Path("out/pretrain.json").read_text())


def test_an_image_that_cannot_be_read_is_passed_over_and_said(pretrain: Cli) -> None:
    Path("photos/3.png").write_bytes(b"no image")
    answer = pretrain()
    assert answer.code == 0
    assert "skipped: photos/3.png: cannot be decoded\n" in answer.err


BAD = [
    ("--images nowhere", 1, "nowhere: no such folder of images"),
    ("--images photos", 2, "two folders of images are called 'photos'"),
    ("--student jitne", 2, "expected jitnet, mobilenetv2, lite-segmenter or a .safetensors file (did you mean"),
    ("--student none.safetensors", 1, "none.safetensors: no such file of weights"),
    ("--tags none.toml", 2, "none.toml: not a file of tags"),
    ("--device gpu", 2, "--device gpu: expected auto, cpu, cuda or cuda:N"),
    ("--config none.toml", 2, "none.toml: cannot be read"),
    ("--set trainin.steps=3", 2, "unknown section [trainin] (did you mean 'training'?)"),
    ("--set training.stepz=3", 2, "[training]: unknown key 'stepz' (did you mean 'steps'?)"),
    ("--set training.steps=0", 2, "[training] steps = 0: must be positive"),
    ("--set training.learning_rate=nan", 2, "learning_rate = nan: expected a finite number"),
    ("--set compose.size=7", 2, "[compose] size = 7: expected a multiple of 32"),
    ("--set pretrain.seed=99999999999", 2, "seed = 99999999999: must be from 0 to 4294967295"),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=[words for words, *_ in BAD])
def test_what_is_wrong_is_said_before_images_are_labelled(pretrain: Cli, words: str, code: int, message: str) -> None:
    """A misspelt student was noticed after hours of labelling."""
    answer = pretrain(*words.split())
    assert answer.code == code
    assert message in answer.error
    assert not Path("labels").exists()


def test_without_teacher_and_labels_there_is_nothing_to_learn(pretrain: Cli) -> None:
    answer = pretrain(teacher=None)
    assert answer.code == 2
    assert answer.error.startswith("labels: not a folder of teacher labels")


def test_labels_of_another_teacher_and_other_settings_are_refused(pretrain: Cli) -> None:
    assert pretrain().code == 0
    answer = pretrain(teacher="cli_teachers:slow")
    assert answer.code == 2
    assert "holds labels of 'cli_teachers:colours', not of 'cli_teachers:slow'" in answer.error
    answer = pretrain("--set", "training.steps=9")
    assert answer.code == 2
    assert "out: holds a training with training.steps = 4, not 9; choose another folder or delete it" in answer.error


def test_a_learning_rate_without_sense_leaves_no_student(pretrain: Cli) -> None:
    """A student of weights that are no numbers was written, and called done."""
    answer = pretrain("--set", "training.learning_rate=1e30", "--set", "training.warmup_steps=0")
    assert answer.code == 1
    assert "the loss is not finite any more at step" in answer.error
    assert not Path("out/student.safetensors").exists()


def test_ctrl_c_keeps_labels_and_steps(pretrain: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    write = labelling.write_label_png

    def write_then_interrupt(path: Path, labels) -> None:
        write(path, labels)
        if path.name.startswith("2"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(labelling, "write_label_png", write_then_interrupt)
    answer = pretrain()
    assert (answer.code, answer.out) == (130, "")
    assert len(list(Path("labels").rglob("*.png"))) == 3
    monkeypatch.setattr(labelling, "write_label_png", write)

    show = "narrowcast.cli._progress.Progress.show"
    monkeypatch.setattr(show, lambda self, done, total, *_: total == 4 and signal.raise_signal(signal.SIGTERM))
    answer = pretrain()
    assert (answer.code, answer.out) == (128 + signal.SIGTERM, "")
    assert Path("out", CHECKPOINT).exists()
