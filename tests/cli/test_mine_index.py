"""`narrowcast mine index` and `show`: counts, one line for what is wrong, nothing lost."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Cli

BACKBONE = """
def colours(images): return images.mean((1, 2))
colours.size_hw = (8, 8)
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Path:
    """The working directory, with five photos, a broken one, and a backbone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cli_backbones.py").write_text(BACKBONE)
    (tmp_path / "photos").mkdir()
    for ix in range(5):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{ix}.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"words")
    return tmp_path


INDEX = ("mine", "index", "photos", "--pool", "pool", "--backbone", "cli_backbones:colours")


def test_indexing_counts_and_goes_on(cli: Cli, there: Path) -> None:
    answer = json.loads(cli(*INDEX, "--json").out)
    assert answer["photos"] == {"ok": 5, "duplicate": 0, "undecodable": 1}
    assert answer["undecodable"][0]["reason"] == "not an image of a known format"
    assert json.loads(cli(*INDEX[:5], "--json").out)["new"] == 0  # with the pool's own backbone
    told = cli("mine", "show", "--pool", "pool").out
    assert "5 photos, 0 duplicates, 1 that cannot be decoded" in told
    assert "broken.jpg: not an image" in told


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(("index", "nowhere", "--pool", "pool"), 1, "nowhere: no such file or folder", id="no photos"),
        pytest.param(("index", "--pool", "pool"), 2, "pool: is no pool yet", id="neither photos nor pool"),
        pytest.param(("index", "photos", "--pool", "photos"), 2, "is not empty and holds no pool", id="not a pool"),
        pytest.param(("index", "cli_backbones.py", "--pool", "pool"), 1, "neither a folder, an image", id="not photos"),
        pytest.param(("show", "--pool", "photos"), 2, "photos: is no pool; make one with", id="show nothing"),
        pytest.param(("index", "photos", "--pool", "pool", "--backbone", "resnet81"), 2, "did you mean", id="backbone"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, there: Path, words: tuple[str, ...], code: int, message: str) -> None:
    answer = cli("mine", *words)
    assert message in answer.error
    assert answer.code == code
