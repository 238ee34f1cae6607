"""Cards say how an image becomes a network's input, and are refused with one line where they cannot be right."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models.card import CardInput, prepare, read_card
from narrowcast.models.taxonomy import VOC
from tiny_networks import noise, write_card


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"not looked into")
    return path


def test_a_card_is_read(tmp_path: Path, weights: Path) -> None:
    more = 'resize = "letterbox"\nmean = [1, 2, 3]\n[augment]\nflip = false\ntiles = [2, 1]\n[output]\nlayout = "HWC"\n'
    card = read_card(write_card(tmp_path / "card.toml", weights, size_wh=(20, 10), more=more))
    assert (card.name, card.weights, card.input.size_wh) == ("tiny", weights, (20, 10))
    assert card.input.mean == (1.0, 2.0, 3.0)
    assert card.augment is not None
    assert (card.augment.flip, card.augment.tiles, card.output.layout) == (False, (2, 1), "HWC")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param('name = "tiny"', "", "needs 'name'", id="a missing key"),
        pytest.param("size_wh", "size", "unknown key 'size'", id="an unknown key in a section"),
        pytest.param('name = "tiny"', 'name = "tiny"\nlicense = "MIT"', "did you mean 'licence'", id="an unknown key"),
        pytest.param("[20, 10]", "[20]", "expected 2 values", id="one size"),
        pytest.param("[20, 10]", "[0, 10]", "must be positive", id="no width"),
        pytest.param("[input]\nsize_wh = [20, 10]", "input = 3", "expected CardInput", id="a section that is a number"),
        pytest.param("['background', 'green', 'blue']", '"vox"', "did you mean 'voc'", id="an unknown taxonomy"),
        pytest.param("['background', 'green', 'blue']", "3", "expected a list", id="classes that are no list"),
        pytest.param("['background', 'green', 'blue']", "['background']", "expected 2 to 255", id="no class"),
        pytest.param("'background', 'green'", "'green'", "expected 'background'", id="no background"),
        pytest.param("'green', 'blue'", "'blue', 'blue'", "'blue' is listed twice", id="a class twice"),
        pytest.param("[input]", "[input", "not a teacher card", id="not TOML"),
    ],
)
def test_a_bad_card_is_one_line_with_its_path(tmp_path: Path, weights: Path, old: str, new: str, says: str) -> None:
    path = write_card(tmp_path / "card.toml", weights, size_wh=(20, 10))
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=says) as caught:
        read_card(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such teacher card"):
        read_card(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_card(tmp_path)
    path = write_card(tmp_path / "card.toml", tmp_path / "gone.tflite", size_wh=(20, 10))
    with pytest.raises(WeightsError, match=r"gone\.tflite: no such file.*--teacher embedded"):
        read_card(path)


def test_weights_are_relative_to_the_card(tmp_path: Path, weights: Path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_card(write_card(tmp_path / "card.toml", Path("net.tflite"), size_wh=(2, 2))).weights == weights


@pytest.mark.parametrize("value", ["models", "{tmp}/models"], ids=["relative to where we are", "absolute"])
def test_a_variable_is_relative_to_the_current_directory(tmp_path: Path, monkeypatch, value: str) -> None:
    """A relative NARROWCAST_DATA was looked for beside the card."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.tflite").write_bytes(b"")
    (tmp_path / "cards").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARROWCAST_DATA", value.format(tmp=tmp_path))
    card = write_card(tmp_path / "cards" / "card.toml", Path("${NARROWCAST_DATA}/net.tflite"), size_wh=(2, 2))
    assert read_card(card).weights == tmp_path / "models" / "net.tflite"


def test_an_unset_variable_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("NOWHERE_TO_BE_FOUND", raising=False)
    card = write_card(tmp_path / "card.toml", Path("${NOWHERE_TO_BE_FOUND}/net.tflite"), size_wh=(2, 2))
    with pytest.raises(ConfigError, match="NOWHERE_TO_BE_FOUND is not set"):
        read_card(card)


@pytest.mark.parametrize("name", ["", "-half", "-flip", "-tta", "-stills"])
def test_the_recipes_are_cards(tmp_path: Path, repository: Path, monkeypatch, name: str) -> None:
    (tmp_path / "models").mkdir()
    for width in ("", "_dm05"):
        (tmp_path / "models" / f"deeplabv3_mnv2{width}_pascal_quant.tflite").write_bytes(b"")
    monkeypatch.setenv("NARROWCAST_DATA", str(tmp_path))
    card = read_card(repository / "recipes" / "teachers" / f"deeplab-voc{name}.toml")
    assert (card.name, card.classes, card.licence) == (f"deeplab-voc{name}", VOC, "Apache-2.0")
    assert (card.augment is not None) == (name in ("-flip", "-tta", "-stills"))


RAW = CardInput(size_wh=(40, 30))
CENTRED = dataclasses.replace(RAW, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
SCALED = dataclasses.replace(RAW, std=(255.0, 255.0, 255.0))


def test_raw_pixels_stay_as_they_are() -> None:
    image = noise(30, 40)
    assert np.array_equal(prepare(image, RAW).pixels, image)


def test_pixels_are_normalised() -> None:
    image = noise(30, 40)
    assert np.allclose(prepare(image, CENTRED).pixels, (image.astype(np.float64) - 127) / 128, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "padding"),
    [
        pytest.param(RAW, 127, id="grey where pixels are raw"),
        pytest.param(CENTRED, 0, id="the mean where there is one"),
        pytest.param(SCALED, 127 / 255, id="grey where there is no mean"),
    ],
)
def test_a_letterbox_keeps_the_aspect_and_pads(settings: CardInput, padding: float) -> None:
    prepared = prepare(np.full((10, 40, 3), 200, np.uint8), dataclasses.replace(settings, resize="letterbox"))
    assert prepared.pixels.shape == (30, 40, 3)
    assert np.allclose(prepared.pixels[10:], padding)
    assert (prepared.pixels[:10] == prepared.pixels[0, 0]).all()


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("size_hw", [(30, 40), (60, 80), (17, 31), (1, 1), (100, 9)])
@pytest.mark.parametrize("fraction", [1, 2])
def test_labels_come_back_to_where_their_pixels_were(resize, size_hw, fraction) -> None:
    image = np.zeros((*size_hw, 3), np.uint8)
    image[: size_hw[0] // 2] = 255
    settings = CardInput(size_wh=(40, 30), resize=resize)
    prepared = prepare(image, settings)
    answered = (prepared.pixels[::fraction, ::fraction, 0] > 200).astype(np.uint8)
    labels = prepared.restore(answered)
    assert labels.shape == size_hw
    scale = 30 / size_hw[0] if resize == "stretch" else min(40 / size_hw[1], 30 / size_hw[0])
    border = int(fraction / scale) + 1  # pixels by which an edge may move
    half = size_hw[0] // 2
    assert (labels[: max(0, half - border)] == 1).all()
    assert (labels[half + border :] == 0).all()
