"""Labels of other tools come in; what goes out can be read back."""

import csv
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.mine.exchange import EXPORTS, Exported, read_labels
from narrowcast.mine.pool import Pool


def values(path: Path, category: str = "owl", **options) -> dict[str, str]:
    return {given.name: given.value for given in read_labels(path, category, **options)}


def test_csv_with_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,label\na.jpg,1\nb.jpg,negative\nc.jpg,\n")
    assert values(path) == {"a.jpg": "positive", "b.jpg": "negative", "c.jpg": "unsure"}
    path.write_text("path,label\na.jpg,1\nb.jpg,perhaps\n")
    with pytest.raises(SourceError, match=r"labels.csv:3: label 'perhaps'; expected positive"):
        values(path)


def test_csv_with_categories(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,category\na.jpg,owl\nb.jpg,fox\n")
    assert values(path) == {"a.jpg": "positive", "b.jpg": "negative"}
    with pytest.raises(UsageError, match=r"no category 'owls' \(did you mean 'owl'\?\): fox, owl"):
        values(path, "owls")


def test_coco(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    images = [{"id": ix, "file_name": f"{ix}.jpg", "width": 4, "height": 3} for ix in range(3)]
    annotations = [{"id": 1, "image_id": 1, "category_id": 7}, {"id": 2, "image_id": 2, "category_id": 8}]
    categories = [{"id": 7, "name": "owl"}, {"id": 8, "name": "fox"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    assert values(path) == {"0.jpg": "negative", "1.jpg": "positive", "2.jpg": "negative"}


def test_megadetector(tmp_path: Path) -> None:
    path = tmp_path / "md.json"
    found = [[("1", 0.9)], [("1", 0.2), ("2", 0.9)], [], [("2", 0.8)]]
    images = [
        {"file": f"{ix}.jpg", "detections": [{"category": c, "conf": conf, "bbox": [0, 0, 1, 1]} for c, conf in one]}
        for ix, one in enumerate(found)
    ]
    images.append({"file": "broken.jpg", "failure": "Failure image access"})
    path.write_text(json.dumps({"images": images, "detection_categories": {"1": "animal", "2": "person"}, "info": {}}))
    expected = {"0.jpg": "positive", "1.jpg": "unsure", "2.jpg": "negative", "3.jpg": "negative"}
    assert values(path, "animal") == expected
    assert values(path, "animal", confidence=0.1)["1.jpg"] == "positive"


def test_folders(tmp_path: Path) -> None:
    for name in ("owl/a", "owl/deep/b", "fox/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    assert {Path(name).name: value for name, value in values(tmp_path).items()} == {
        "a.jpg": "positive",
        "b.jpg": "positive",
        "c.jpg": "negative",
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("a.csv", "name,label\n", "expected a header", id="header"),
        pytest.param("a.json", "{", "not JSON", id="not json"),
        pytest.param("a.json", "{}", "neither COCO", id="other json"),
        pytest.param("a.json", '{"images": [{}], "annotations": [], "categories": [{"id": 1}]}', "damaged", id="coco"),
        pytest.param("b.csv", None, "cannot be read", id="missing"),
    ],
)
def test_what_is_none(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        read_labels(tmp_path / name, "owl")


@pytest.fixture
def rows(pool: Pool) -> list[Exported]:
    items = pool.items()
    labels = ["positive", "negative", "unsure", ""] * 5
    return [Exported(pool.place(ix), items[ix], (10, 12), label, 0.5) for ix, label in enumerate(labels)]


@pytest.mark.parametrize("kind", ["csv", "coco", "imagefolder"])
def test_what_goes_out_comes_in_again(rows: list[Exported], tmp_path: Path, kind: str) -> None:
    out = tmp_path / {"csv": "a.csv", "coco": "a.json", "imagefolder": "a"}[kind]
    EXPORTS[kind]([row for row in rows if row.label in ("positive", "negative")], out, "owl")
    again = read_labels(out, "owl")
    assert sorted(given.value for given in again) == ["negative"] * 5 + ["positive"] * 5
    assert {Path(given.name).read_bytes() for given in again} == {
        row.place.read() for row in rows if row.label in ("positive", "negative")
    }


def test_csv_and_fiftyone_have_every_photo(rows: list[Exported], tmp_path: Path) -> None:
    EXPORTS["csv"](rows, tmp_path / "a.csv", "owl")
    assert len(list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))) == 20
    EXPORTS["fiftyone"](rows, tmp_path / "a.json", "owl")
    samples = json.loads((tmp_path / "a.json").read_text())["samples"]
    assert [sample.get("ground_truth", {}).get("label") for sample in samples[:4]] == ["owl", "not owl", None, None]


def test_yolo_has_two_parts_and_webdataset_whole_samples(rows: list[Exported], tmp_path: Path) -> None:
    EXPORTS["yolo-cls"](rows, tmp_path / "yolo", "owl")
    found = {path.relative_to(tmp_path / "yolo").parts[:2] for path in (tmp_path / "yolo").rglob("*.png")}
    assert found == {(part, name) for part in ("train", "val") for name in ("owl", "not-owl")}
    EXPORTS["webdataset"](rows, tmp_path / "a.tar", "owl")
    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()
        assert len(names) == 30
        photo = tar.extractfile(names[0])
        assert photo is not None
        with Image.open(photo) as image:
            assert image.size == (10, 12)
