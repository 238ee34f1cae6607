"""Tables of several labels an image: both forms, gaps, splits, and a line for whatever is wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.data.known_labels import KnownLabels, open_known


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for ix in range(10):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{ix}.png")
    return tmp_path


def opened(folder: Path, text: str) -> KnownLabels:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return open_known(folder / "labels.csv", held_out=0.3, seed=0)


WIDE = "path,split,heron,egret\n0.png,train,1,\n1.png,train,0,1\n2.png,train,,?\n3.png,test,1,1\n4.png,test,,0\n"


def test_a_column_for_each_category_with_gaps(folder: Path) -> None:
    known = opened(folder, WIDE)
    assert known.categories == ("heron", "egret")
    assert known.labels.tolist() == [[1, -1], [0, 1], [-1, -1], [1, 1], [-1, 0]]
    assert known.rows("train").tolist() == [0, 1, 2]
    assert known.table.names() == ["0.png", "1.png", "2.png", "3.png", "4.png"]


def test_a_row_for_each_label_what_is_not_listed_is_not_there(folder: Path) -> None:
    known = opened(
        folder,
        "path,label,split\n0.png,heron,train\n0.png,egret,train\n1.png,egret,test\n1.png,heron,test\n2.png,,train\n",
    )
    assert known.categories == ("egret", "heron")
    assert known.labels.tolist() == [[1, 1], [1, 1], [0, 0]]


def test_a_row_for_each_label_with_values_leaves_the_rest_unknown(folder: Path) -> None:
    rows = "0.png,heron,1\n0.png,egret,0\n1.png,egret,1\n2.png,egret,1\n3.png,heron,1\n4.png,,\n"
    known = opened(folder, f"path,label,value\n{rows}")
    assert known.labels.tolist() == [[0, 1], [1, -1], [1, -1], [-1, 1], [-1, -1]]
    for ix in range(2):  # a split of its own: each category in both parts
        assert {known.table.split[row] for row in np.flatnonzero(known.labels[:, ix] == 1)} == {"train", "test"}


def test_a_drawn_split_holds_out_a_share(folder: Path) -> None:
    rows = "".join(f"{ix}.png,{int(ix < 6)},{ix % 2}\n" for ix in range(10))
    split = opened(folder, f"path,heron,egret\n{rows}").table.split
    assert split.count("test") == 3
    assert 1 <= split[:6].count("test") <= 3
    assert split == opened(folder, f"path,heron,egret\n{rows}").table.split


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        pytest.param("name,heron\n0.png,1\n", SourceError, "no column 'path'", id="no path"),
        pytest.param("path,split\n0.png,train\n", SourceError, "no column of a category", id="no category"),
        pytest.param("path,a,a\n0.png,1,1\n", SourceError, "the column 'a' twice", id="column twice"),
        pytest.param("path,a\n", SourceError, "the table is empty", id="empty"),
        pytest.param("path,a\n0.png,1\n0.png,0\n", SourceError, r"csv:3: 0.png is in line 2 already", id="image twice"),
        pytest.param("path,a\n0.png,yes\n", SourceError, r"csv:2: a: 'yes' is not a label", id="a word"),
        pytest.param("path,a\nx.png,1\n", SourceError, r"csv:2: x.png: no such file", id="no file"),
        pytest.param("path,a\n,1\n", SourceError, r"csv:2: no path", id="no name"),
        pytest.param("path,a,split\n0.png,1,half\n", SourceError, r"csv:2: split 'half'", id="split"),
        pytest.param("path,a,split\n0.png,1,test\n1.png,1,\n", SourceError, "1.png has no split", id="half a split"),
        pytest.param("path,a\n0.png,1\n1.png,0\n", UsageError, "'a' has no image that shows it to test on", id="one"),
        pytest.param(
            "path,label,value\n0.png,a,1\n0.png,a,0\n", SourceError, r"csv:3: 0.png has another value", id="two values"
        ),
        pytest.param(
            "path,label,split\n0.png,a,train\n0.png,b,test\n",
            SourceError,
            r"csv:3: 0.png is in 'train'",
            id="two splits",
        ),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, text: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        opened(folder, text)
    assert "\n" not in str(raised.value)
