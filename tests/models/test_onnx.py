"""ONNX files as teachers, in either layout, ending in logits or in an arg max."""

from pathlib import Path

import pytest
import torch

from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models.card import read_card
from narrowcast.models.onnx_teacher import OnnxTeacher
from tiny_networks import brightest, noise, write_card, write_onnx

pytest.importorskip("onnxruntime")
SIZE_WH = (24, 16)


def load(folder: Path, *, more: str = "", **network) -> OnnxTeacher:
    weights = write_onnx(folder / "net.onnx", **network)
    return OnnxTeacher(read_card(write_card(folder / "card.toml", weights, size_wh=SIZE_WH, more=more)), num_threads=1)


NCHW, NHWC, HW = (1, 3, 16, 24), (1, 16, 24, 3), (1, 16, 24)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param({"shape": NCHW, "out_shape": NCHW}, id="channels first, logits"),
        pytest.param({"shape": NHWC, "out_shape": NHWC}, id="channels last, logits"),
        pytest.param({"shape": NCHW, "out_shape": HW, "op": "ArgMax", "axis": 1}, id="channels first, a map"),
        pytest.param({"shape": NHWC, "out_shape": HW, "op": "ArgMax", "axis": 3}, id="channels last, a map"),
        pytest.param({"shape": ("n", 3, "h", "w"), "out_shape": ("n", 3, "h", "w")}, id="free sizes"),
        pytest.param({"shape": NHWC, "out_shape": NHWC, "elem_type": 2}, id="8-bit pixels"),
    ],
)
def test_layouts_are_read_off_the_shapes(tmp_path: Path, network: dict) -> None:
    image = noise(16, 24)
    assert (load(tmp_path, **network)(image).labels == brightest(image)).all()


def test_normalisation_reaches_the_network(tmp_path: Path) -> None:
    """With the red channel's mean far up, red never wins."""
    teacher = load(tmp_path, shape=NCHW, out_shape=NCHW, more="mean = [1000, 0, 0]\n")
    image = noise(16, 24)
    assert (teacher(image).labels == 1 + image[..., 1:].argmax(-1)).all()


def test_a_network_without_background_is_shifted(tmp_path: Path) -> None:
    weights = write_onnx(tmp_path / "net.onnx", shape=NCHW, out_shape=NCHW)
    card = write_card(tmp_path / "card.toml", weights, size_wh=SIZE_WH, more="[output]\nhas_background = false\n")
    text = card.read_text(encoding="utf-8").replace("['background',", "['background', 'red',")
    card.write_text(text, encoding="utf-8")
    image = noise(16, 24)
    assert (OnnxTeacher(read_card(card), num_threads=1)(image).labels == brightest(image) + 1).all()


def test_two_readings_need_a_word_from_the_card(tmp_path: Path) -> None:
    ambiguous = {"shape": (1, 3, 16, 3), "out_shape": (1, 3, 16, 3)}
    size = "size_wh = [24, 16]", "size_wh = [3, 16]"
    weights = write_onnx(tmp_path / "net.onnx", **ambiguous)
    card = write_card(tmp_path / "card.toml", weights, size_wh=SIZE_WH)
    for more, says in (("", r"\[input\] layout"), ('layout = "NCHW"\n', r"\[output\] layout")):
        text = write_card(card, weights, size_wh=SIZE_WH, more=more).read_text(encoding="utf-8").replace(*size)
        card.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=says):
            OnnxTeacher(read_card(card), num_threads=1)
    text += '[output]\nlayout = "CHW"\n'
    card.write_text(text, encoding="utf-8")
    image = noise(16, 3)
    assert (OnnxTeacher(read_card(card), num_threads=1)(image).labels == brightest(image)).all()


@pytest.mark.parametrize(
    ("network", "says"),
    [
        pytest.param({"shape": (1, 3, 8, 8), "out_shape": (1, 3, 8, 8)}, "takes 8×8", id="another size"),
        pytest.param({"shape": (1, 3), "out_shape": (1, 3)}, "expected one image", id="no image"),
        pytest.param({"shape": NHWC, "out_shape": NHWC, "elem_type": 9}, "8-bit integers", id="truth values"),
    ],
)
def test_a_card_that_does_not_fit_fails_when_loaded(tmp_path: Path, network: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load(tmp_path, **network)
    assert "\n" not in str(caught.value)


def test_logits_of_other_classes_fail_when_loaded(tmp_path: Path) -> None:
    weights = write_onnx(tmp_path / "net.onnx", shape=NCHW, out_shape=NCHW)
    card = write_card(tmp_path / "card.toml", weights, size_wh=SIZE_WH)
    card.write_text(card.read_text(encoding="utf-8").replace("'blue'", "'blue', 'red'"), encoding="utf-8")
    with pytest.raises(ConfigError, match="no axis has the 4 classes of the card 'tiny'"):
        OnnxTeacher(read_card(card), num_threads=1)


def test_a_label_without_a_class_is_named(tmp_path: Path) -> None:
    """Along the wrong axis the map holds columns, up to 23."""
    teacher = load(tmp_path, shape=NCHW, out_shape=(1, 3, 16), op="ArgMax", axis=3)
    with pytest.raises(ConfigError, match=r"gives label \d+, which none of the 3 classes of the card 'tiny' is for"):
        teacher(noise(16, 24))


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08 nothing")
    card = read_card(write_card(tmp_path / "card.toml", tmp_path / "net.onnx", size_wh=SIZE_WH))
    with pytest.raises(WeightsError, match=r"net\.onnx: not an ONNX model") as caught:
        OnnxTeacher(card, num_threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
def test_cuda_falls_back_where_the_runtime_has_none(tmp_path: Path) -> None:
    weights = write_onnx(tmp_path / "net.onnx", shape=NCHW, out_shape=NCHW)
    card = read_card(write_card(tmp_path / "card.toml", weights, size_wh=SIZE_WH))
    image = noise(16, 24)
    labels = OnnxTeacher(card, num_threads=1, device=torch.device("cuda"))(image).labels
    assert (labels == brightest(image)).all()
