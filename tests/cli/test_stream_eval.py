"""`narrowcast stream eval`: what it writes, what it does not do twice, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import NUM, Cli, write_clip

KEYS = {
    "source",
    "method",
    "phase",
    "miou_pooled",
    "miou_pooled_without_teacher_frames",
    "teacher_fraction",
    "total_s",
    "teacher_every_frame_s",
    "speedup",
}


@pytest.fixture
def evaluate(cli: Cli, clip: Path, here: Path) -> Cli:
    """`evaluate("--phases", "0,2")` evaluates two methods on the clip into `eval`."""

    def call(*words: str | Path, source: str | Path = clip, methods: str = "hold-8,frozen"):
        fixed = ("--teacher", "cli_teachers:colours", "--methods", methods, "--out", "eval", "--device", "cpu")
        return cli("stream", "eval", source, *fixed, "--classes", "red,green", *words)

    return call


def rows() -> dict[tuple, dict]:
    found = json.loads(Path("eval/summary.json").read_text())
    return {(row["source"], row["method"], row["phase"], row["seed"]): row for row in found}


def test_every_method_has_a_row(evaluate: Cli, clip: Path) -> None:
    answer = evaluate(
        "--json", methods="default-0.8:jitnet,thesis-0.7:jitnet,hold-8,flow-dis-8,frozen,segmenter:cli_teachers:colours"
    )
    assert answer.code == 0, answer.err
    found = rows()
    assert json.loads(answer.out) == list(found.values())
    assert {name for _, name, _, _ in found} == {
        "default-0.8:jitnet",
        "thesis-0.7:jitnet",
        "hold-8",
        "flow-dis-8",
        "frozen",
        "segmenter:cli_teachers:colours",
    }
    for row in found.values():
        assert row.keys() >= KEYS
        assert row["frames"] == NUM
        assert row["speedup"] == pytest.approx(row["teacher_every_frame_s"] / row["total_s"])
        assert 0 <= row["teacher_share"] + row["learning_share"] <= 1
    assert found["clip", "hold-8", 0, 0]["teacher_fraction"] == 3 / NUM
    assert found["clip", "frozen", 0, 0]["teacher_fraction"] == 0
    assert found["clip", "segmenter:cli_teachers:colours", 0, 0]["miou_pooled"] == 1.0
    assert found["clip", "flow-dis-8", 0, 0]["miou_pooled"] > found["clip", "hold-8", 0, 0]["miou_pooled"]


def test_what_is_there_is_not_run_again(evaluate: Cli, here: Path) -> None:
    assert evaluate(methods="hold-8").code == 0
    before = rows()
    other = write_clip(here / "other.mp4", num_frames=9)
    assert evaluate(other, "--phases", "0,4", methods="hold-8,frozen").code == 0
    after = rows()
    assert after.items() >= before.items()
    assert len(after) == 2 * 2 * 2
    assert after["other", "hold-8", 4, 0]["frames"] == 5
    assert evaluate(methods="hold-8").code == 0
    assert rows() == after


def test_methods_that_learn_run_with_every_seed(evaluate: Cli) -> None:
    assert evaluate("--seeds", "3,1", "--max-frames", "2", methods="hold-8,default:jitnet").code == 0
    assert [(method, seed) for _, method, _, seed in rows()] == [
        ("default:jitnet", 1),
        ("default:jitnet", 3),
        ("hold-8", 0),
    ]


def test_a_job_that_was_cut_off_begins_anew(evaluate: Cli) -> None:
    assert evaluate(methods="hold-8").code == 0
    folder = Path("eval/runs/clip/hold-8-seed0-phase0")
    (folder / "summary.json").unlink()
    assert evaluate(methods="hold-8").code == 0
    assert len((folder / "reports.jsonl").read_text().splitlines()) == NUM


def test_kept_labels_stand_in_for_the_teacher(evaluate: Cli) -> None:
    assert evaluate(methods="hold-8").code == 0
    called = rows()["clip", "hold-8", 0, 0]
    assert evaluate("--out", "other", "--cache", "eval/labels", "--replay-teacher", methods="hold-8").code == 0
    replayed = json.loads(Path("other/summary.json").read_text())[0]
    assert replayed["teacher_is_replayed"]
    assert replayed["miou_pooled"] == called["miou_pooled"]
    assert replayed["teacher_s"] == pytest.approx(3 * replayed["teacher_ms_p50"] / 1e3)


def test_the_answer_is_a_table(evaluate: Cli) -> None:
    out = evaluate("--size", "48", "--max-frames", "10").out.splitlines()
    assert out[0].split()[:5] == ["source", "method", "phase", "seed", "mIoU"]
    assert [line.split()[1] for line in out[1:3]] == ["frozen", "hold-8"]
    assert out[-1] == "eval/report.html"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--size", "4x"), "--size 4x: expected WIDTHxHEIGHT"),
        (("--seeds", "0,a"), "--seeds 0,a: expected numbers"),
        (("--phases", "0,0"), "--phases 0,0: expected different numbers"),
        (("--phases", "9", "--max-frames", "9"), "leaves nothing of --max-frames 9"),
        (("--max-frames", "0"), "must be at least 1"),
        (("--phases", "500"), "has no frame from frame 500 on"),
        (("--methods", "hold"), "needs frames"),
        (("nowhere.mp4",), "nowhere.mp4: no such file"),
    ],
)
def test_misuse_is_one_line(evaluate: Cli, words: tuple[str, ...], says: str) -> None:
    answer = evaluate(*words)
    assert answer.code in (1, 2)
    assert says in answer.error


def test_results_of_other_settings_are_not_mixed(evaluate: Cli) -> None:
    assert evaluate("--max-frames", "4").code == 0
    assert "holds an evaluation with max_frames = 4, not 5" in evaluate("--max-frames", "5").error
    Path("eval/eval.json").unlink()
    assert "holds no evaluation" in evaluate("--max-frames", "4").error


def test_a_data_set_is_scored_against_its_labels(cli: Cli, here: Path) -> None:
    images, labels = here / "set/images", here / "set/labels"
    labels.mkdir(parents=True)
    images.mkdir()
    (labels / "classes.txt").write_text("background\nred\n")
    for ix in range(4):
        image = np.zeros((48, 64, 3), np.uint8)
        image[10:30, 10:40] = (250, 0, 0)
        Image.fromarray(image).save(images / f"{ix}.png")
        Image.fromarray((image[..., 0] > 0).astype(np.uint8)).save(labels / f"{ix}.png")
    words = ("stream", "eval", f"frames:{here / 'set'}", "--methods", "hold-2", "--device", "cpu")
    assert cli(*words, "--teacher", "cli_teachers:colours", "--classes", "red", "--out", "eval").code == 0
    truth = rows()["set", "hold-2", 0, 0]["truth"]
    assert (truth["frames"], truth["miou_pooled_of_teacher"], truth["j"]["mean"]) == (4, 1.0, 1.0)
    assert cli(*words, "--teacher", "labels", "--out", "own").code == 0
    assert json.loads(Path("own/summary.json").read_text())[0]["miou_pooled_with_teacher_labels"] == 1.0


def test_plain_videos_have_no_labels_of_their_own(evaluate: Cli) -> None:
    assert "has no labels of its own" in evaluate("--teacher", "labels", "--classes", "all").error


def test_a_method_that_diverges_ends_alone(evaluate: Cli) -> None:
    """One student that diverged on one stream ended the evaluation of all methods on all streams."""
    method = "thesis-0.9:jitnet[learner.learning_rate=1e30]"
    answer = evaluate(methods=f"{method},hold-8")
    assert answer.code == 1
    assert f"Error: {method} on clip diverged at frame" in answer.err
    assert [name for _, name, _, _ in rows()] == ["hold-8"]
    assert "diverged at frame" in Path("eval/report.html").read_text()


def test_a_generated_stream_has_exact_labels_to_evaluate_on(cli: Cli, here: Path) -> None:
    size = ("--frames", NUM, "--size", "64x48", "--cut-every", 6)
    made = json.loads(cli("stream", "generate", "--out", "drift", *size, "--json").out)
    assert made == {"path": "drift", "frames": NUM, "classes": ["background", "round", "triangle"]}
    assert len(Path("drift/scenes.txt").read_text().split()) == NUM
    again = cli("stream", "generate", "--out", "drift", *size)
    assert again.code == 1
    assert "drift: is not empty" in again.error
    cli("stream", "eval", "frames:drift", "--teacher", "labels", "--methods", "hold-4", "--out", "eval")
    (row,) = rows().values()
    assert row["truth"]["miou_pooled_of_teacher"] == 1
    assert 0 < row["miou_pooled"] < 1
