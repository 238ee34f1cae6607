"""LiteRT files as teachers: raw 8-bit pixels, quantised and float inputs, and the real VOC teachers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models import ports
from narrowcast.models.card import CardInput, TeacherCard, prepare, read_card
from narrowcast.models.litert import LiteRTTeacher
from narrowcast.models.load_teacher import from_card
from narrowcast.models.taxonomy import VOC
from tiny_networks import CLASSES, brightest, noise, write_card, write_tflite

pytest.importorskip("ai_edge_litert")
SIZE_WH = (24, 16)


@pytest.mark.parametrize(
    ("network", "more"),
    [
        pytest.param({"dtype": "UINT8"}, "", id="raw 8-bit pixels"),
        pytest.param({"dtype": "FLOAT32"}, "mean = [127, 127, 127]\nstd = [128, 128, 128]\n", id="floats"),
        pytest.param({"dtype": "INT8", "scale": 1 / 128, "zero_point": -1}, "", id="raw pixels, shifted"),
        pytest.param(
            {"dtype": "INT8", "scale": 1 / 128, "zero_point": -1},
            "mean = [127, 127, 127]\nstd = [128, 128, 128]\n",
            id="quantised by the file's scale",
        ),
    ],
)
def test_number_types(tmp_path: Path, network: dict, more: str) -> None:
    weights = write_tflite(tmp_path / "net.tflite", size_wh=SIZE_WH, **network)
    card = read_card(write_card(tmp_path / "card.toml", weights, size_wh=SIZE_WH, more=more))
    image = noise(16, 24) // 2 * 2  # ties survive the rounding
    labels = LiteRTTeacher(card, num_threads=1)(image).labels
    clear = np.diff(np.sort(image, axis=-1))[..., -1] > 2
    assert (labels == brightest(image))[clear].all()


def test_quantisation_is_the_inverse_of_what_the_file_says() -> None:
    settings = CardInput(size_wh=SIZE_WH, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
    prepared = prepare(noise(16, 24), settings)
    coded = ports.encode(prepared, layout="NCHW", dtype=np.dtype(np.int8), scale=0.01, zero_point=5)
    assert coded.shape == (1, 3, 16, 24)
    back = (coded[0].transpose(1, 2, 0).astype(float) - 5) * 0.01
    assert np.abs(back - prepared.pixels).max() <= 0.005 + 1e-6


def test_a_card_of_another_size_fails_when_loaded(tmp_path: Path) -> None:
    weights = write_tflite(tmp_path / "net.tflite", size_wh=(8, 8))
    card = read_card(write_card(tmp_path / "card.toml", weights, size_wh=SIZE_WH))
    with pytest.raises(ConfigError, match="takes 8×8; the card 'tiny' says"):
        LiteRTTeacher(card, num_threads=1)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"nothing that LiteRT knows")
    card = read_card(write_card(tmp_path / "card.toml", tmp_path / "net.tflite", size_wh=SIZE_WH))
    with pytest.raises(WeightsError, match=r"net\.tflite: not a LiteRT model") as caught:
        LiteRTTeacher(card, num_threads=1)
    assert "\n" not in str(caught.value)


def test_threads_are_counted_from_one(tmp_path: Path) -> None:
    weights = write_tflite(tmp_path / "net.tflite", size_wh=SIZE_WH)
    card = TeacherCard(name="tiny", weights=weights, classes=CLASSES, input=CardInput(size_wh=SIZE_WH))
    with pytest.raises(ConfigError, match="num_threads"):
        LiteRTTeacher(card, num_threads=0)


@pytest.mark.shared
@pytest.mark.parametrize("recipe", ["deeplab-voc", "deeplab-voc-half", "deeplab-voc-tta"])
def test_the_voc_teachers_say_nothing_of_a_grey_frame(recipe: str, shared_file, repository: Path, monkeypatch) -> None:
    path = shared_file("models/deeplabv3_mnv2_pascal_quant.tflite")
    shared_file("models/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    monkeypatch.setenv("NARROWCAST_DATA", str(path.parents[1].resolve()))
    card = read_card(repository / "recipes" / "teachers" / f"{recipe}.toml")
    teacher = from_card(card, device=torch.device("cpu"), num_threads=1)
    labels = teacher(np.full((120, 160, 3), 127, np.uint8)).labels
    assert teacher.classes == VOC
    assert (labels == 0).mean() > 0.9
