"""`narrowcast stream run`: sources of all kinds, what is said where, runs that go on."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.cli._progress import Progress
from narrowcast.models.student import load_student
from narrowcast.video.source import open_source
from narrowcast.video.synth import moving_shapes

from .conftest import NUM, Cli, write_clip


def summary() -> dict:
    return json.loads(Path("run/summary.json").read_text())


def test_the_answer_goes_to_stdout_and_the_talk_to_stderr(stream: Cli) -> None:
    answer = stream()
    assert answer.code == 0
    first, second, third = answer.out.splitlines()
    assert first.startswith(f"finished: {NUM} frames, teacher on ")
    assert second.startswith("mean IoU of predictions 0.")
    assert third == "run/report.html"
    assert f"stream  {NUM}/{NUM}  100%" in answer.err
    assert load_student(Path("run/student.safetensors"))[1] == ("background", "red", "green", "blue")


def test_json_on_stdout_is_the_summary(stream: Cli) -> None:
    answer = stream("--json", "--output", "none")
    assert json.loads(answer.out) == summary()
    assert not Path("run/labelled.mp4").exists()


def test_scores_with_another_teacher(stream: Cli, here: Path) -> None:
    folder = here / "masks"
    folder.mkdir()
    (folder / "classes.txt").write_text("background\nred\ngreen\nblue\n")
    for ix in range(0, NUM, 5):
        Image.fromarray(np.ones((48, 64), np.uint8)).save(folder / f"{ix:03}.png")
    assert stream("--score-every", "5", "--score-with", folder, "--output", "none").code == 0
    assert summary()["scored_frames"] == 5


NAMES = ["two words.mp4", "50% off %03d.mp4", "Ä 猫.mp4", "a[1].mp4", "what?*.mp4", "-dash.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name(stream: Cli, clip: Path, here: Path, name: str) -> None:
    (here / name).write_bytes(clip.read_bytes())
    answer = stream("--max-frames", "2", "--output", "none", source=f"./{name}")
    assert answer.code == 0, answer.err
    assert json.loads(Path("run/run.json").read_text())["config"]["source"] == f"./{name}"


def images(num: int, *, size_wh: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    return [Image.fromarray(frame.image_rgb) for frame, _ in moving_shapes(num_frames=num, size_wh=size_wh)]


def gif(here: Path) -> str:
    first, *others = images(4)
    first.save("moving.gif", save_all=True, append_images=others, duration=40)
    return "moving.gif"


def picture(here: Path) -> str:
    images(1)[0].save("still[2].jpg")
    return "still[2].jpg"


def folder(here: Path) -> str:
    Path("frames[1]").mkdir()
    for ix, image in enumerate(images(4)):
        image.resize((64, 48) if ix < 2 else (80, 40)).save(f"frames[1]/{ix}.png")  # of two sizes
    return "frames[1]"


def pattern(here: Path) -> str:
    for ix, image in enumerate(images(4)):
        image.save(f"frame{ix}.png")
    return "frame*.png"


def one_frame(here: Path) -> str:
    return str(write_clip(Path("one.mp4"), num_frames=1))


def odd(here: Path) -> str:
    first, *others = images(4, size_wh=(321, 241))
    first.save("odd.gif", save_all=True, append_images=others, duration=40)
    return "odd.gif"


@pytest.mark.parametrize(
    ("make", "num_frames"), [(gif, 4), (picture, 1), (folder, 4), (pattern, 4), (one_frame, 1), (odd, 4)]
)
def test_any_kind_of_source(stream: Cli, here: Path, make, num_frames: int) -> None:
    answer = stream("--output", "overlay", "--output", "png", source=make(here))
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"finished: {num_frames} frame{'' if num_frames == 1 else 's'}, ")
    assert len(list(open_source("run/labelled.mp4"))) == num_frames
    assert len(list(Path("run/labels").iterdir())) == num_frames


def test_a_source_that_was_cut_off_is_used_to_its_end_and_the_summary_says_so(stream: Cli, here: Path) -> None:
    path = write_clip(here / "cut.mkv", num_frames=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    answer = stream("--output", "none", source=path)
    assert answer.code == 0
    assert answer.out.startswith("finished (the source ends ")
    assert 5 < summary()["frames"] < 55
    assert summary()["source_truncated"]


def test_a_run_that_is_finished_can_be_told_again(stream: Cli) -> None:
    first = stream()
    before = Path("run/summary.json").read_bytes()
    again = stream("--resume")
    assert (again.code, again.out) == (0, first.out)
    assert stream("--resume", "--max-frames", str(NUM)).out == first.out
    assert Path("run/summary.json").read_bytes() == before
    assert len(list(open_source("run/labelled.mp4"))) == NUM


def test_a_run_goes_on_with_more_frames(stream: Cli) -> None:
    assert stream("--max-frames", "10").out.startswith("finished: 10 frames")
    assert stream("--max-frames", "9", "--resume").error == "--max-frames 9: the run has 10 frames already"
    answer = stream("--resume")
    assert answer.out.startswith(f"finished: {NUM} frames")
    assert len(list(open_source("run/labelled.mp4"))) == NUM


def test_resume_of_nothing_begins(stream: Cli) -> None:
    assert stream("--resume", "--output", "none").out.startswith(f"finished: {NUM} frames")


def test_a_student_of_another_run_is_taken_with_other_classes(stream: Cli) -> None:
    assert stream("--output", "none").code == 0
    words = ("--student", "run/student.safetensors", "--classes", "red+green=warm", "--out", "other")
    assert stream(*words, "--output", "none").code == 0
    assert load_student(Path("other/student.safetensors"))[1] == ("background", "warm")


def test_progress_outlives_a_wrong_estimate_and_a_terminal_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`160%` was printed frame after frame, and a closed pipe of stderr ended the run."""
    clock = itertools.count(step=4)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Progress("stream") as progress:
        for done in range(1, 30):
            progress.show(done, 10, "")
        lines = capsys.readouterr().err.splitlines()
        assert not [line for line in lines if "%" in line and int(line.split("%")[0].split()[-1]) > 100]
        assert len(lines) < 20

        class Gone:
            def write(self, text: str) -> int:
                raise BrokenPipeError

        monkeypatch.setattr("sys.stderr", Gone())
        for done in range(30, 60):
            progress.show(done, None, "")
