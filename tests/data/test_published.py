"""Small files of the published formats become tables."""

import json
from pathlib import Path

import pytest

from narrowcast.core.errors import SourceError
from narrowcast.data.background import BackgroundConfig, draw_split
from narrowcast.data.published import open_any


@pytest.fixture
def inaturalist(tmp_path: Path) -> Path:
    categories = [{"id": ix, "name": f"Species {ix}", "supercategory": "Aves"} for ix in (4, 9, 2)]
    for split, num in (("train", 5), ("val", 2)):
        pairs = [(10 * category["id"] + ix, category["id"]) for category in categories for ix in range(num)]
        note = {
            "categories": categories,
            "images": [{"id": image, "file_name": f"{split}/Aves/{image}.jpg"} for image, _ in pairs],
            "annotations": [{"id": image, "image_id": image, "category_id": one} for image, one in pairs],
        }
        (tmp_path / f"{split}2017.json").write_text(json.dumps(note))
    return tmp_path


def test_inaturalist_2017_is_a_table(inaturalist: Path) -> None:
    table = open_any(inaturalist)
    assert table.classes == ("Species 2", "Species 4", "Species 9")
    assert table.counts().tolist() == [7, 7, 7]
    assert table.of_split("test").names()[0] == "val/Aves/40.jpg"
    split = draw_split(table, BackgroundConfig(categories=("Species 4",), positives=2))
    assert split.counts.tolist() == [10, 2]


def test_an_annotation_of_nothing_is_named(inaturalist: Path) -> None:
    path = inaturalist / "val2017.json"
    note = json.loads(path.read_text())
    note["annotations"][0]["category_id"] = 77
    path.write_text(json.dumps(note))
    with pytest.raises(SourceError, match=r"val2017.json: an annotation names category 77, which is not in the file"):
        open_any(inaturalist)
    path.write_text("{}")
    with pytest.raises(SourceError, match="no 'annotations'"):
        open_any(inaturalist)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "categories_places365.txt").write_text("/a/airfield 0\n/a/alley 1\n/b/bar/indoor 2\n")
    (tmp_path / "places365_train_standard.txt").write_text(
        "/a/airfield/00000001.jpg 0\n/a/alley/00000001.jpg 1\n/b/bar/indoor/00000001.jpg 2\n"
    )
    (tmp_path / "places365_val.txt").write_text("Places365_val_00000001.jpg 2\nPlaces365_val_00000002.jpg 0\n")
    return tmp_path


def test_places365_is_a_table(places: Path) -> None:
    table = open_any(places)
    assert table.classes == ("airfield", "alley", "bar/indoor")
    assert table.split == ("train",) * 3 + ("test",) * 2
    assert table.names()[0] == "data_large/a/airfield/00000001.jpg"
    assert table.names()[3] == "val_large/Places365_val_00000001.jpg"
    assert table.labels.tolist() == [0, 1, 2, 2, 0]


def test_a_line_that_is_no_pair_is_named(places: Path) -> None:
    (places / "places365_val.txt").write_text("Places365_val_00000001.jpg 365\n")
    with pytest.raises(SourceError, match=r"places365_val.txt:1: expected a path and a label below 3"):
        open_any(places)


def test_other_folders_are_folders_of_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected a folder for each category"):
        open_any(tmp_path)
