"""Everything that can be wrong with what a user gives: one line, the right exit code, and nothing lost."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from narrowcast.models.pretrained import EMBEDDED_TEACHER, fresh_student
from narrowcast.models.student import save_student
from narrowcast.stream.distill import DEFAULT
from narrowcast.video.source import open_source

from .conftest import Cli

# --- sources ----------------------------------------------------------------------------------------------------------


def sound(here: Path) -> str:
    with wave.open("sound.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000))
    return "sound.wav"


def file_of(content: bytes, name: str = "a.mp4"):
    def make(here: Path) -> str:
        (here / name).write_bytes(content)
        return name

    return make


def empty_folder(here: Path) -> str:
    (here / "pictures").mkdir()
    (here / "pictures" / "readme.txt").write_text("none yet")
    return "pictures"


SOURCES = [
    pytest.param(lambda here: "missing.mp4", "missing.mp4: no such file or folder", id="missing"),
    pytest.param(lambda here: "", "the source has no name", id="no name"),
    pytest.param(file_of(b""), "a.mp4: the file is empty", id="empty"),
    pytest.param(file_of(b"words\n" * 99), "a.mp4: not a video", id="text"),
    pytest.param(file_of(b"YUV4MPEG2 W0 H0 F25:1\nFRAME\n", "a.y4m"), "picture size of 0x0", id="0 x 0"),
    pytest.param(sound, "sound.wav: has no video, only audio", id="audio only"),
    pytest.param(empty_folder, "pictures: a folder without images", id="folder without images"),
    pytest.param(lambda here: "no/*.png", "no/*.png: no image matches this pattern", id="pattern"),
    pytest.param(lambda here: "webcam:97", "webcam:97: no such camera", id="webcam"),
    pytest.param(lambda here: "rtsp://127.0.0.1:9/a", "rtsp://127.0.0.1:9/a: cannot be opened: Conn", id="rtsp"),
    pytest.param(lambda here: "ftp://host/a.mp4", "ftp:// is not known; use one of", id="scheme"),
    pytest.param(lambda here: "a" * 5000, "File name too long", id="a name that no disk takes"),
]


@pytest.mark.parametrize(("make", "message"), SOURCES)
def test_sources(stream: Cli, here: Path, make, message: str) -> None:
    answer = stream(source=make(here))
    assert answer.code == 1
    assert message in answer.error
    assert not Path("run").exists()


# --- options ----------------------------------------------------------------------------------------------------------

OPTIONS = [
    ("--classes redd", "class 'redd' is not one of the teacher's 3 classes (did you mean 'red'?)"),
    ("--classes red+blue", "merged classes need a name"),
    ("--accuracy 0", "accuracy = 0.0: must be between 0 and 1"),
    ("--accuracy 1", "accuracy = 1.0: must be between 0 and 1"),
    ("--accuracy nan", "accuracy = nan: must be between 0 and 1"),
    ("--method thesi", "--method thesi: expected default, look-ahead, learning, thesis (did you mean 'thesis'?)"),
    ("--student jitnett", "(did you mean 'jitnet'?)"),
    ("--student clip.mp4", "--student clip.mp4: expected pretrained, jitnet, mobilenetv2 or a .safetensors file"),
    ("--size big", "--size big: expected WIDTHxHEIGHT in pixels, such as 640x360"),
    ("--size 8x8", "--size 8x8: both sides must have 32 to 8192 pixels"),
    ("--size 0x0", "--size 0x0: both sides must have"),
    ("--size 99999999x99999999", "--size 99999999x99999999: both sides must have"),
    ("--output gif", "--output gif: expected overlay, side-by-side, png, rle, lessons or none"),
    ("--output png --output png", "--output png: is given twice"),
    ("--output none --output png", "--output none: writes nothing, so it stands alone"),
    ("--output overlay --output side-by-side", "both labelled.mp4; choose one"),
    ("--score-every -1", "--score-every -1: must not be negative"),
    ("--score-with embedded", "--score-with has no effect without --score-every; add --score-every 1"),
    ("--max-frames 0", "--max-frames 0: must be at least 1"),
    ("--seed -1", "seed = -1: must not be negative"),
    ("--seed 99999999999999999999", "--seed 99999999999999999999: expected 0 to 4294967295"),
    ("--device gpu", "--device gpu: expected auto, cpu, cuda or cuda:N"),
    ("--device cudaa", "--device cudaa: expected auto, cpu, cuda or cuda:N"),
    ("--config none.toml", "none.toml: cannot be read: No such file or directory"),
    ("--config words.toml", "words.toml: not a recipe:"),
    ("--config .", ".: cannot be read: Is a directory"),
    ("--set schedule", "--set schedule: expected section.key=value"),
    ("--set schedul.accuracy=0.5", "unknown section [schedul] (did you mean 'schedule'?)"),
    ("--set schedule.acuracy=0.5", "[schedule]: unknown key 'acuracy' (did you mean 'accuracy'?)"),
    ("--set schedule.max_stride=far", "[schedule]: max_stride = 'far': expected int"),
    ("--set schedule.max_stride=0", "max_stride = 0: must be positive, in order"),
    ("--set learner.learning_rate=nan", "[learner]: learning_rate = nan: expected a finite number"),
    ("--set learner.learning_rate=-1", "learning_rate = -1.0: must be positive and finite"),
    ("--set learner.norm=bach", "[learner]: norm = 'bach': expected one of frozen, batch"),
    ("--set distill.replay=-1", "replay = -1: must not be negative"),
    ("--set teacher.confidence=0.5", "teacher.confidence has no effect on the teacher"),
    ("--set run.checkpoint_every=0", "checkpoint_every = 0: must be at least 1"),
    ("--recall words.toml", "--recall words.toml: is a file; name a folder of students, or a new one"),
    ("--recall .", "--recall .: is no zoo of students"),
    ("--recall zoo --set recall.most=0", "most = 0: must be at least 1"),
    ("--set recall.most=2", "[recall]: has no effect without --recall; add --recall FOLDER"),
    ("--set run.source=x", "[run]: source is an option of the command line"),
]


@pytest.mark.parametrize(("words", "message"), OPTIONS, ids=[words for words, _ in OPTIONS])
def test_options(stream: Cli, here: Path, words: str, message: str) -> None:
    (here / "words.toml").write_text("these are words")
    answer = stream(*words.split())
    assert answer.code == 2
    assert message in answer.error
    assert not Path("run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_cuda_that_is_not_there(stream: Cli) -> None:
    answer = stream("--device", "cuda")
    assert answer.code == 2
    assert answer.error.endswith("no CUDA device that torch can use; try --device cpu")


# --- teachers ---------------------------------------------------------------------------------------------------------

TEACHERS = [
    ("maskrcn", 2, "no such teacher (did you mean 'maskrcnn'?)"),
    ("", 2, "no such teacher"),
    ("nowhere/", 2, "no such folder of masks"),
    ("net.tflite", 2, "a file of weights needs a card"),
    ("card.toml", 2, "card.toml: no such teacher card"),
    ("cli_teachers:colors", 2, "cli_teachers has no function 'colors' (did you mean 'colours'?)"),
    ("no_such_module:f", 2, "no_such_module cannot be imported: ModuleNotFoundError"),
    ("broken_module:f", 2, "broken_module cannot be imported: SyntaxError"),
    ("maskrcnn", 1, "or use a teacher that works offline: embedded"),
]


@pytest.mark.parametrize(("name", "code", "message"), TEACHERS, ids=[name for name, *_ in TEACHERS])
def test_teachers(stream: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, message: str) -> None:
    monkeypatch.setenv("TORCH_HOME", str(here))
    (here / "broken_module.py").write_text("this is no Python")
    monkeypatch.syspath_prepend(here)
    answer = stream(teacher=name)
    assert answer.code == code
    assert message in answer.error
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", "cli_teachers:raises failed on frame 0: ValueError: two lines"),
        ("leaves", "cli_teachers:leaves failed on frame 0: SystemExit: 3"),
        ("nothing", "cli_teachers:nothing: its labels are object; expected integers"),
        ("ragged", "cli_teachers:ragged: its labels are not an array"),
        ("seven", "cli_teachers:seven: gives label 7; expected 0 to 3, or 255 for unknown"),
    ],
)
def test_functions_that_are_no_teachers(stream: Cli, name: str, message: str) -> None:
    answer = stream(teacher=f"cli_teachers:{name}")
    assert answer.code == 1
    assert message in answer.error
    assert stream("--max-frames", "1", "--output", "none").code == 0  # the folder may be used with a better one


def test_a_folder_with_too_few_masks_keeps_the_frames_before(stream: Cli, here: Path) -> None:
    (here / "masks").mkdir()
    (here / "masks" / "classes.txt").write_text("background\nred\n")
    for ix in range(9):
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(here / "masks" / f"{ix:03}.png")
    words = ("--set", "schedule.min_stride=8", "--set", "schedule.max_stride=8")
    answer = stream(*words, teacher="masks")
    assert answer.code == 1
    assert answer.error == "masks: no mask for frame 16 (it has 9 masks, of frames 0 to 8)"
    found = json.loads(Path("run/summary.json").read_text())
    assert (found["status"], found["frames"]) == ("failed", 16)
    assert len(list(open_source("run/labelled.mp4"))) == 16
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(here / "masks" / "016.png")
    assert stream(*words, "--resume", teacher="masks").out.startswith("finished: 24 frames")


# --- students ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("students") / "a.safetensors"
    save_student(path, fresh_student("jitnet", 2), ("background", "zebra"))
    return path.read_bytes()


def test_student_files(stream: Cli, here: Path, student: bytes) -> None:
    answer = stream("--student", "none.safetensors")
    assert (answer.code, answer.error) == (1, "none.safetensors: no such file of weights")
    damaged = bytearray(student)
    damaged[20:40] = bytes(20)
    for content in (b"", b"words" * 99, student[:2000], student[:-1000], bytes(damaged)):
        (here / "bad.safetensors").write_bytes(content)
        answer = stream("--student", "bad.safetensors")
        assert answer.code == 1
        assert answer.error.startswith("bad.safetensors: damaged or not a safetensors file")
    assert not Path("run").exists()


def test_a_student_that_knows_none_of_the_classes_learns_them(stream: Cli, here: Path, student: bytes) -> None:
    (here / "zebras.safetensors").write_bytes(student)
    assert stream("--student", "zebras.safetensors", "--output", "none").code == 0


def test_a_teachers_network_is_no_student(stream: Cli, here: Path, repository: Path) -> None:
    answer = stream("--student", repository / "src" / "narrowcast" / "weights" / EMBEDDED_TEACHER)
    assert answer.code == 2
    assert "cannot be a stream's student; use jitnet or mobilenetv2" in answer.error


def test_a_learning_rate_without_sense(stream: Cli) -> None:
    answer = stream("--method", "learning", "--set", "learner.learning_rate=1e30")
    assert answer.code == 1
    assert answer.error.endswith("try a lower learner.learning_rate")


# --- the folder -------------------------------------------------------------------------------------------------------


def test_folders_that_cannot_be_used(stream: Cli, clip: Path, here: Path) -> None:
    (here / "photos").mkdir()
    (here / "photos" / "holiday.jpg").touch()
    for out, code, message in [
        (here / "photos", 2, "is not empty and holds no run; choose another --out"),
        (clip, 1, "cannot be written: File exists"),
        (clip / "below", 1, "cannot be written: Not a directory"),
        (Path("/proc/run"), 1, "cannot be written: No such file or directory"),
    ]:
        answer = stream("--out", out)
        assert answer.code == code
        assert answer.error == f"{out}: {message}"
    assert [entry.name for entry in (here / "photos").iterdir() if entry.name != ".lock"] == ["holiday.jpg"]


def test_a_disk_that_is_full_is_said_and_the_run_goes_on_when_there_is_room(stream: Cli, here: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # a checkpoint has 9 MB
    try:
        answer = stream()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.code == 1
    assert answer.error.startswith("run/checkpoint.safetensors: cannot be written: ")
    assert stream().error == "run: holds a run already; use --resume to go on, or another --out"
    assert stream("--resume").out.startswith("finished: 24 frames")
    assert len(list(open_source("run/labelled.mp4"))) == 24


def test_a_run_goes_on_as_it_began_or_not_at_all(stream: Cli, clip: Path, here: Path) -> None:
    assert stream("--max-frames", "5", "--output", "none").code == 0
    before = {path: path.read_bytes() for path in Path("run").iterdir() if path.is_file()}
    (here / "other.mp4").write_bytes(clip.read_bytes())
    for words, message in [
        (("--accuracy", "0.7"), "distill.schedule.accuracy = 0.8, not 0.7"),
        (("--method", "thesis"), f"distill.schedule.min_stride = {DEFAULT.schedule.min_stride}, not 8"),
        (("--seed", "1"), "seed = 0, not 1"),
        (("--size", "64x64"), "size_wh = [64, 48], not [64, 64]"),
        (("--classes", "red"), "classes = all, not red"),
    ]:
        answer = stream(*words, "--resume", "--output", "none")
        assert answer.code == 2
        assert message in answer.error or words[0] == "--seed"
        assert "resume with the same settings" in answer.error
    answer = stream("--resume", "--output", "none", source="other.mp4")
    assert answer.error.endswith("not other.mp4; resume with the same settings")
    assert {path: path.read_bytes() for path in Path("run").iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", ["run.json", "reports.jsonl", "checkpoint.safetensors"])
def test_a_damaged_run_says_which_file_and_stays(stream: Cli, name: str) -> None:
    assert stream("--max-frames", "5", "--output", "none").code == 0
    (Path("run") / name).write_bytes(b"nonsense\n")
    before = Path("run/summary.json").read_bytes()
    answer = stream("--resume", "--output", "none")
    assert answer.code == 1
    assert f"run/{name}: damaged" in answer.error
    assert Path("run/summary.json").read_bytes() == before
