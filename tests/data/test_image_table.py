"""Tables of images say one clear line about what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import ClassNameError, SourceError, UsageError
from narrowcast.data.image_table import ImageTable, open_table, read_rgb, split_table


def draw(path: Path, value: int = 100, size: tuple[int, int] = (12, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 0)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, num in (("cat", 3), ("dog", 5)):
        for ix in range(num):
            draw(tmp_path / "photos" / name / f"{ix}.png", ix)
    return tmp_path / "photos"


def test_a_folder_of_folders_is_a_table(folder: Path) -> None:
    table = open_table(folder)
    assert table.classes == ("cat", "dog")
    assert table.counts().tolist() == [3, 5]
    assert table.names()[:2] == ["cat/0.png", "cat/1.png"]
    assert not table.split


def test_train_and_val_folders_are_a_split(folder: Path) -> None:
    table = open_table(
        draw(folder.parent / "set/val/cat/9.png").parents[2]
        if draw(folder.parent / "set/train/cat/images/1.png")
        else folder
    )
    assert table.classes == ("cat",)
    assert table.of_split("train").names() == ["train/cat/images/1.png"]
    assert table.of_split("test").names() == ["val/cat/9.png"]
    with pytest.raises(UsageError, match="no images of the split 'extra'"):
        table.of_split("extra")


def test_a_csv_is_a_table(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_text("path,label,split\ncat/0.png,tiger,train\ndog/1.png,wolf,val\ndog/2.png,wolf,test\n")
    table = open_table(path)
    assert table.classes == ("tiger", "wolf")
    assert table.labels.tolist() == [0, 1, 1]
    assert table.split == ("train", "test", "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\ncat/7.png,cat\n", r"labels.csv:2: cat/7.png: no such file; labels and files disagree"),
        ("path,name\ncat/0.png,cat\n", r"labels.csv: no column 'label'"),
        ("path,label\ncat/0.png,\n", r"labels.csv:2: expected path and label"),
        ("path,label,split\ncat/0.png,cat,mine\n", r"labels.csv:2: split 'mine' is neither train nor test"),
        ("path,label,split\ncat/0.png,cat,train\ncat/1.png,cat,\n", r"1.png: has no split, while others have one"),
        ("path,label\n", r"the table is empty"),
    ],
    ids=["file missing", "no column", "no label", "unknown split", "half a split", "empty"],
)
def test_a_csv_that_is_wrong_says_where(folder: Path, text: str, message: str) -> None:
    (folder / "labels.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        open_table(folder / "labels.csv")


def test_an_empty_category_is_named(folder: Path) -> None:
    (folder / "eel").mkdir()
    with pytest.raises(SourceError, match=r"eel: the category is empty"):
        open_table(folder)


def test_a_folder_without_categories_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected a folder for each category"):
        open_table(tmp_path)
    with pytest.raises(SourceError, match=r"no such folder or CSV file"):
        open_table(tmp_path / "nowhere")


def test_an_unknown_category_gets_a_suggestion(folder: Path) -> None:
    table = open_table(folder)
    assert table.class_ix("dog") == 1
    with pytest.raises(ClassNameError, match=r"no category 'dgo' in the table \(did you mean 'dog'\?\)"):
        table.class_ix("dgo")


def test_labels_of_another_length_are_refused(folder: Path) -> None:
    table = open_table(folder)
    with pytest.raises(SourceError, match="8 images, 2 labels"):
        ImageTable(table.paths, np.zeros(2, np.int64), table.classes)


def test_rows_are_chosen_by_number_or_mask(folder: Path) -> None:
    table = open_table(folder)
    assert table.rows([7, 0]).names() == ["dog/4.png", "cat/0.png"]
    assert table.rows(table.labels == 0).names() == ["cat/0.png", "cat/1.png", "cat/2.png"]


def test_a_split_holds_out_a_share_of_each_class(folder: Path) -> None:
    table = split_table(open_table(folder), held_out=0.4, seed=0)
    assert [table.of_split("test").counts().tolist(), table.of_split("train").counts().tolist()] == [[1, 2], [2, 3]]
    assert split_table(open_table(folder), held_out=0.4, seed=0).split == table.split
    assert split_table(table, held_out=0.9, seed=1) is table


def test_keys_follow_labels_and_files(folder: Path) -> None:
    before = open_table(folder)
    assert open_table(folder).key() == before.key()
    assert before.rows([1, 0]).key() != before.rows([0, 1]).key()
    image_key = before.image_key()
    draw(folder / "cat" / "0.png", 200, (30, 30))
    assert open_table(folder).key() == before.key()
    assert open_table(folder).image_key() != image_key


@pytest.mark.parametrize("content", [b"", b"not an image", None], ids=["empty", "text", "cut off"])
def test_a_damaged_image_is_one_line(folder: Path, content: bytes | None) -> None:
    path = folder / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:45] if content is None else content)
    with pytest.raises(SourceError, match=r"0.png: the image cannot be decoded") as raised:
        read_rgb(path)
    assert "\n" not in str(raised.value)
