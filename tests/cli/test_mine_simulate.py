"""`narrowcast mine simulate`: the contract of summary.json, going on, and what is refused."""

import json
from pathlib import Path

import pytest

from .conftest import Cli
from .test_mine_index import INDEX, there  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("there")
SIMULATE = (
    "mine",
    "simulate",
    "--pool",
    "pool",
    "--truth",
    "labels.csv",
    "--out",
    "run",
    "--labels",
    "2",
    "--batch",
    "1",
)


@pytest.fixture(autouse=True)
def _pool(cli: Cli, there: Path) -> None:  # noqa: F811
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(1)
    rows = ["path,category,split"]
    for ix in range(30):
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        if ix % 3 == 0:
            pixels[..., 1] //= 8
        Image.fromarray(pixels).save(there / "photos" / f"more-{ix}.png")
        rows.append(f"photos/more-{ix}.png,{'red' if ix % 3 == 0 else 'grey'},{'test' if ix >= 21 else 'train'}")
    (there / "labels.csv").write_text("\n".join(rows))
    cli(*INDEX)


def test_the_summary_is_as_promised_and_is_gone_on_with(cli: Cli, there: Path) -> None:  # noqa: F811
    words = (*SIMULATE, "--categories", "red", "--seeds", "2", "--strategies")
    answer = json.loads(cli(*words, "default,algorithm2", "--json").out)
    assert [row["strategy"] for row in answer] == ["default", "algorithm2"]
    rows = json.loads((there / "run" / "summary.json").read_text())
    assert {(row["strategy"], row["category"], row["seed"]) for row in rows} == {
        (name, "red", seed) for name in ("default", "algorithm2") for seed in (0, 1)
    }
    for row in rows:
        assert {"strategy", "category", "seed", "labels", "ap", "f1", "found"} <= set(row)
        assert row["labels"] == [0, 1, 2]
        assert len(row["ap"]) == len(row["f1"]) == len(row["found"]) == 3
    assert "Mining, simulated" in (there / "run" / "report.html").read_text()
    cli(*words, "tropel")
    again = json.loads((there / "run" / "summary.json").read_text())
    assert again[:4] == rows
    assert len(again) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(("--strategies", "defualt"), "did you mean 'default'", id="strategy"),
        pytest.param(("--categories", "rad"), "did you mean 'red'", id="category"),
        pytest.param(("--seeds", "0"), "--seeds 0", id="seeds"),
        pytest.param(("--labels", "0"), "num_labels = 0", id="labels"),
        pytest.param(("--features", "other"), "has no features called 'other'", id="features"),
        pytest.param(("--truth", "missing.csv"), "missing.csv: cannot be read", id="truth"),
    ],
)
def test_what_is_refused(cli: Cli, words: tuple[str, ...], message: str) -> None:
    assert message in cli(*SIMULATE, *words).error


def test_another_simulation_needs_another_folder(cli: Cli) -> None:
    cli(*SIMULATE, "--categories", "red", "--strategies", "tropel", "--seeds", "1")
    assert "holds a simulation with num_labels = 2" in cli(*SIMULATE, "--labels", "3").error
