import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import ShapeError, SourceError
from narrowcast.video.labels import decode_rle, encode_rle, read_label_png, write_label_png

SHAPES = [(1, 1), (1, 7), (7, 1), (33, 47)]


def maps_of(rng: np.random.Generator, shape: tuple[int, int]) -> list[np.ndarray]:
    return [
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        np.full(shape, 1, np.uint8),
        rng.integers(0, 256, shape, dtype=np.uint8),
        rng.choice(np.array([0, 0, 0, 2, 255], np.uint8), shape),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_png_comes_back_exactly(tmp_path: Path, rng: np.random.Generator, shape: tuple[int, int]) -> None:
    for labels in maps_of(rng, shape):
        write_label_png(tmp_path / "l.png", labels)
        np.testing.assert_array_equal(read_label_png(tmp_path / "l.png"), labels)


def test_png_values_are_the_labels_to_any_reader(tmp_path: Path) -> None:
    write_label_png(tmp_path / "l.png", np.array([[0, 1], [2, 255]], np.uint8))
    with Image.open(tmp_path / "l.png") as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == [[0, 1], [2, 255]]
        assert image.convert("RGB").getpixel((1, 0)) == (230, 159, 0)


def test_grey_and_black_and_white_images_are_labels_too(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 3]], np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "one.png")
    assert read_label_png(tmp_path / "grey.png").tolist() == [[0, 3]]
    assert read_label_png(tmp_path / "one.png").tolist() == [[0, 1]]


def test_what_is_not_labels_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    (tmp_path / "text.png").write_text("words")
    write_label_png(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2500])
    for name, words in [("rgb", "got mode RGB"), ("text", "not an image"), ("cut", "cannot be"), ("no", "no such")]:
        with pytest.raises(SourceError, match=rf"{name}\.png: .*{words}"):
            read_label_png(tmp_path / f"{name}.png")
    with pytest.raises(ShapeError, match="expected labels"):
        write_label_png(tmp_path / "l.png", np.zeros((2, 2, 3), np.uint8))


def slow_counts(labels: np.ndarray, label: int) -> list[int]:
    counts, is_inside, run = [], False, 0
    for value in labels.T.ravel():
        if (value == label) != is_inside:
            counts.append(run)
            is_inside, run = not is_inside, 0
        run += 1
    return [*counts, run]


@pytest.mark.parametrize("shape", SHAPES)
def test_run_lengths_come_back_exactly_and_equal_the_slow_ones(rng, shape: tuple[int, int]) -> None:
    for labels in maps_of(rng, shape):
        record = json.loads(json.dumps(encode_rle(labels)))
        np.testing.assert_array_equal(decode_rle(record), labels)
        assert [segment["label"] for segment in record["segments"]] == [k for k in np.unique(labels) if k]
        for segment in record["segments"]:
            assert segment["counts"] == slow_counts(labels, segment["label"])


def test_row_order_is_read_where_it_is_stated() -> None:
    record = {"size": [2, 3], "order": "row", "segments": [{"label": 4, "counts": [1, 2, 3]}]}
    assert decode_rle(record).tolist() == [[0, 4, 4], [0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"order": "spiral"}, "order is 'spiral'", id="unknown order"),
        pytest.param(
            {"segments": [{"label": 1, "counts": [3]}]}, "label 1 counts 3 pixels; the image has 4", id="short"
        ),
        pytest.param({"segments": [{"label": 1, "counts": [-1, 5]}]}, "label 1", id="negative"),
        pytest.param({"segments": [{"counts": [4]}]}, "not a record", id="without a label"),
        pytest.param({"segments": [{"label": 300, "counts": [0, 4]}]}, "not a record", id="label out of range"),
        pytest.param({"size": 4}, "not a record", id="size"),
    ],
)
def test_a_record_that_is_none_is_refused(change: dict, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        decode_rle({"size": [2, 2], "order": "column", "segments": [], **change})
