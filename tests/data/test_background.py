"""A background split says who trains, and a file brings it back exactly."""

import json
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import ClassNameError, ConfigError, SourceError, UsageError
from narrowcast.data.background import BackgroundConfig, draw_split, load_split, published_draws, save_split
from narrowcast.data.image_table import ImageTable


@pytest.fixture
def table() -> ImageTable:
    """Ten classes of ten training and four test images, and Caltech's class of background."""
    classes = ("BACKGROUND_Google", *(f"class{ix}" for ix in range(10)))
    labels = np.repeat(np.arange(11), 14)
    paths = tuple(Path(f"/photos/{classes[label]}/{ix}.jpg") for ix, label in enumerate(labels))
    return ImageTable(paths, labels, classes, (("train",) * 10 + ("test",) * 4) * 11, Path("/photos"))


def test_positives_are_limited_and_the_rest_of_them_left_out(table: ImageTable) -> None:
    split = draw_split(table, BackgroundConfig(num_categories=3, positives=2))
    assert split.counts.tolist() == [80, 2, 2, 2]
    assert split.background == pytest.approx(80 / 86)
    chosen = {table.class_ix(name) for name in split.categories}
    background = table.labels[split.train_rows[split.train_labels == 0]]
    assert not chosen & set(background.tolist())
    assert len(split.test_rows) == 44
    assert np.bincount(split.test_labels).tolist() == [32, 4, 4, 4]
    statistics = split.statistics()
    assert statistics["categories"][split.categories[0]] == {"train": 2, "test": 4}
    assert statistics["background_test"] == pytest.approx(32 / 44)


def test_a_draw_is_that_of_its_seed(table: ImageTable) -> None:
    first, again, other = (draw_split(table, BackgroundConfig(positives=3, draw=draw)) for draw in (1, 1, 2))
    assert first.categories == again.categories
    assert np.array_equal(first.train_rows, again.train_rows)
    assert first.categories != other.categories


def test_background_is_never_drawn_as_a_category(table: ImageTable) -> None:
    for draw in range(20):
        assert "BACKGROUND_Google" not in draw_split(table, BackgroundConfig(draw=draw)).categories


def test_the_background_can_be_made_smaller(table: ImageTable) -> None:
    split = draw_split(table, BackgroundConfig(num_categories=3, background_share=0.25))
    assert split.counts.tolist() == [20, 10, 10, 10]


@pytest.mark.parametrize("share", [1.0, 0.1], ids=["left out listed", "background listed"])
def test_a_file_brings_the_split_back(table: ImageTable, tmp_path: Path, share: float) -> None:
    split = draw_split(table, BackgroundConfig(categories=("class3", "class7"), positives=4, background_share=share))
    save_split(tmp_path / "split.json", split, table)
    note = json.loads((tmp_path / "split.json").read_text())
    assert ("background" in note, "left_out" in note) == (share < 1, share == 1)
    again = load_split(tmp_path / "split.json", table)
    for name in ("train_rows", "train_labels", "test_rows", "test_labels"):
        assert np.array_equal(getattr(again, name), getattr(split, name)), name
    assert (again.categories, again.evaluated) == (split.categories, split.evaluated)


def test_a_split_of_another_table_is_refused(table: ImageTable, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    save_split(path, draw_split(table, BackgroundConfig()), table)
    with pytest.raises(SourceError, match="was made of another table"):
        load_split(path, table.rows(range(100)))
    note = json.loads(path.read_text())
    note["foreground"][note["categories"][0]] = ["elsewhere.jpg"]
    path.write_text(json.dumps(note))
    with pytest.raises(SourceError, match=r"image 'elsewhere.jpg' is not in the table"):
        load_split(path, table)
    path.write_text("{}")
    with pytest.raises(SourceError, match="not a background split"):
        load_split(path, table)


def test_what_cannot_be_drawn_is_refused(table: ImageTable) -> None:
    with pytest.raises(ClassNameError, match=r"no category 'clas3' in the table \(did you mean 'class3'\?\)"):
        draw_split(table, BackgroundConfig(categories=("clas3",)))
    with pytest.raises(UsageError, match="11 categories are asked for, 10 have images"):
        draw_split(table, BackgroundConfig(num_categories=11))
    train_only = table.rows(~((table.labels == 3) & (np.array(table.split) == "test")))
    with pytest.raises(UsageError, match=r"category 'class2' has no image to test on"):
        draw_split(train_only, BackgroundConfig(categories=("class2",)))
    with pytest.raises(ConfigError, match="background_share"):
        BackgroundConfig(background_share=0)


def test_the_published_draws_are_nested() -> None:
    """Section 5.4.6: N = 1100 holds the 100, which ten models of 10 cut up, of which 10 stand alone."""
    classes = [f"species{ix}" for ix in range(5089)]
    draws = published_draws(classes, shared=100, nested=(1100, 5089), parts=10, singles=10, seed=0)
    assert {num: [len(one) for one in lists] for num, lists in draws.items()} == {
        "100": [100],
        "1100": [1100],
        "5089": [5089],
        "10": [10] * 10,
        "1": [1] * 10,
    }
    (hundred,) = draws["100"]
    assert set(hundred) <= set(draws["1100"][0])
    assert [name for part in draws["10"] for name in part] == list(hundred)
    with pytest.raises(ConfigError, match="cannot be drawn"):
        published_draws(classes[:50], shared=100, nested=(), parts=10, singles=10, seed=0)
