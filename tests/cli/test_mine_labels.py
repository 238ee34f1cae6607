"""Categories and labels from the command line, from five photos to a head that scores new ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Cli
from .test_mine_index import INDEX, there  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("there")
POOL = ("--pool", "pool")


@pytest.fixture(autouse=True)
def _category(cli: Cli, there: Path) -> None:  # noqa: F811
    rng = np.random.default_rng(1)
    for ix in range(20):
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        if ix < 6:
            pixels[..., 1] //= 8
        Image.fromarray(pixels).save(there / "photos" / f"{'red' if ix < 6 else 'grey'}-{ix}.png")
    cli(*INDEX)
    assert "2 photos of the pool" in cli("mine", "new", "red", *POOL, *positives("red-0.png", "red-1.png")).out


def positives(*names: str) -> list[str]:
    return [word for name in names for word in ("--positives", name)]


def test_a_category_begins_with_what_a_shell_makes_of_a_star(cli: Cli, there: Path) -> None:  # noqa: F811
    answer = cli("mine", "new", "crimson", *POOL, "--positives", "red-0.png", "red-1.png", "photos/red-2.png")
    assert answer.out == "crimson: begun with 3 photos of the pool and 0 from outside\n"


def test_from_a_few_photos_to_a_head(cli: Cli, there: Path) -> None:  # noqa: F811
    questions = json.loads(cli("mine", "ask", "red", *POOL, "--num", "4", "--json").out)
    assert sum("red" in Path(question["path"]).name for question in questions) >= 3  # 0.7 by chance, p < 0.01
    assert set(questions[0]) == {"pool_ix", "item", "path", "score", "reason", "model"}
    counts = json.loads(cli("mine", "label", "red", "positive", "red-2.png", "red-3.png", *POOL, "--json").out)
    assert counts == {"positive": 4, "negative": 0, "unsure": 0, "audited": 0}
    assert "5 positive" in cli("mine", "label", "red", "positive", "red-4.png", *POOL).out
    assert "4 positive" in cli("mine", "label", "red", "undo", *POOL).out
    (there / "more.csv").write_text("path,label\ngrey-7.png,0\ngrey-8.png,negative\nelsewhere.png,1\n")
    told = cli("mine", "label-import", "red", "more.csv", *POOL).out
    assert "2 negative" in told
    assert "1 not in the pool" in told
    assert "6 labelled photos, 3 others" in cli("mine", "export", "red", *POOL, "--out", "red.csv", "--top", "3").out
    cli("mine", "head", "red", *POOL, "--out", "red.safetensors")
    found = json.loads(cli("mine", "predict", "red.safetensors", "photos", "--json", "--device", "cpu").out)
    scores = {Path(one["path"]).name: one["probability"] for one in found}
    assert scores.pop("broken.jpg") is None
    reds = [score for name, score in scores.items() if name.startswith("red")]
    assert min(reds) > max(score for name, score in scores.items() if not name.startswith("red"))
    cli("mine", "predict", "red.safetensors", "photos", "--out", "scores.csv")
    assert len((there / "scores.csv").read_text().splitlines()) == 27
    assert "red: 4 positive, 2 negative" in cli("mine", "show", *POOL).out


def test_heads_run_as_onnx(cli: Cli) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    cli("mine", "label", "red", "negative", "grey-7.png", *POOL)
    cli("mine", "head", "red", *POOL, "--out", "red.onnx")
    cli("mine", "head", "red", *POOL, "--out", "red.safetensors")
    from narrowcast.mine.features import normalised
    from narrowcast.mine.head import load_head

    features = np.random.default_rng(0).random((5, 3)).astype(np.float32) * 255
    session = runtime.InferenceSession("red.onnx")
    scores, chances = session.run(["score", "probability"], {"features": features})
    expected = load_head(Path("red.safetensors")).model.scores(normalised(features))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-expected)), rtol=1e-3, atol=1e-5)


def test_audits(cli: Cli) -> None:
    planned = json.loads(cli("mine", "audit", "red", *POOL, "--draw", "8", "--json").out)
    assert len(planned["questions"]) == planned["num_drawn"] == 8
    reds = [name for name in planned["questions"] if "red" in Path(name).name]
    others = [name for name in planned["questions"] if name not in reds]
    assert "to answer: #" in cli("mine", "audit", "red", *POOL).out
    for value, names in (("positive", reds), ("negative", others)):
        if names:
            cli("mine", "label", "red", value, *names, "--audit", *POOL)
    told = cli("mine", "audit", "red", *POOL).out
    assert "8 of 8 photos of the audit answered" in told
    assert "recall_of_labels" in told
    assert "at most" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(("new", "a/b", *positives("red-0.png")), "expected a plain name, not a path", id="a path"),
        pytest.param(("new", "red", *positives("red-0.png")), "is there already", id="twice"),
        pytest.param(("new", "blue"), "begins with --positives", id="nothing to begin with"),
        pytest.param(("new", "blue", *positives("cli_backbones.py")), "not a photo that can start", id="no photo"),
        pytest.param(("new", "blue", *positives("none.jpg")), "none.jpg: cannot be read", id="no file"),
        pytest.param(("ask", "rad"), "did you mean 'red'", id="category"),
        pytest.param(("ask", "red", "--strategy", "defualt"), "did you mean 'default'", id="strategy"),
        pytest.param(("ask", "red", "--num", "0"), "--num 0", id="num"),
        pytest.param(("label", "red", "postive", "red-2.png"), "did you mean 'positive'", id="value"),
        pytest.param(("label", "red", "positive"), "name the photos", id="no photos"),
        pytest.param(("label", "red", "undo", "red-2.png"), "undo takes no photos", id="undo of photos"),
        pytest.param(("label", "red", "positive", "none.jpg"), "'none.jpg' is not in it", id="photo"),
        pytest.param(("label-import", "red", "none.csv"), "cannot be read", id="import"),
        pytest.param(("export", "red", "--out", "a", "--format", "cvs"), "did you mean 'csv'", id="format"),
        pytest.param(("audit", "red"), "no audit of 'red' is planned", id="audit"),
        pytest.param(("head", "red", "--out", "a.pth"), "ends in .safetensors or .onnx", id="head"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, words: tuple[str, ...], message: str) -> None:
    assert message in cli("mine", *words, *POOL).error


def test_a_head_is_not_taken_for_another(cli: Cli, there: Path) -> None:  # noqa: F811
    (there / "words.safetensors").write_text("words")
    assert "words.safetensors" in cli("mine", "predict", "words.safetensors", "photos").error
    cli("mine", "label", "red", "negative", "grey-7.png", *POOL)
    cli("mine", "head", "red", *POOL, "--out", "red.safetensors")
    (there / "cli_backbones.py").write_text(
        "def colours(images): return images.max((1, 2))\ncolours.size_hw = (8, 8)\n"
    )
    import sys

    sys.modules.pop("cli_backbones")
    assert "was fitted on features of" in cli("mine", "predict", "red.safetensors", "photos").error
