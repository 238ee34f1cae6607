"""Teachers by name: what `--teacher` takes, and what it says otherwise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from narrowcast.core.errors import ConfigError, UsageError, WeightsError
from narrowcast.models.augmented import AugmentedTeacher
from narrowcast.models.load_teacher import NAMES, load_teacher
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.onnx_teacher import OnnxTeacher
from tiny_networks import CLASSES, brightest, noise, write_card, write_onnx

CPU = torch.device("cpu")


def load(spec: str | Path, **options):
    return load_teacher(str(spec), device=CPU, num_threads=1, **options)


@pytest.mark.parametrize("name", sorted(NAMES.keys() - {"embedded", "embedded-tta"}))
def test_every_name_leads_to_its_weights(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="download https"):
        load(name)


def test_embedded_loads_where_its_weights_ship() -> None:
    try:
        teacher = load("embedded", max_side=64)
    except WeightsError as error:
        pytest.skip(str(error))
    assert teacher(noise(40, 56)).labels.shape == (40, 56)


@pytest.mark.parametrize(
    ("more", "kind"), [("", OnnxTeacher), ("[augment]\ntiles = [2, 2]\n", AugmentedTeacher)], ids=["card", "augmented"]
)
def test_a_card_is_loaded_by_its_weights(tmp_path: Path, more: str, kind: type) -> None:
    pytest.importorskip("onnxruntime")
    weights = write_onnx(tmp_path / "net.onnx", shape=("n", 3, "h", "w"), out_shape=("n", 3, "h", "w"))
    teacher = load(write_card(tmp_path / "card.toml", weights, size_wh=(24, 16), more=more))
    assert isinstance(teacher, kind)
    assert teacher.classes == CLASSES
    image = np.repeat(np.repeat(noise(4, 6), 4, 0), 4, 1)
    assert (teacher(image).labels == brightest(image)).mean() > 0.8


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"end in \.tflite or \.onnx"):
        load(write_card(tmp_path / "card.toml", tmp_path / "net.pth", size_wh=(24, 16)))


def test_a_folder_is_a_teacher(tmp_path: Path) -> None:
    Image.fromarray(np.ones((6, 8), np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "classes.txt").write_text("background\nperson\n", encoding="utf-8")
    assert isinstance(load(tmp_path), MaskFolderTeacher)


def test_a_function_is_a_teacher(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "spoken_for.py").write_text(
        "import numpy as np\nCLASSES = ['background', 'x']\ndef labels(image): return np.zeros(image.shape[:2], int)\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path.copy())
    assert load("spoken_for:labels").classes == ("background", "x")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        pytest.param("maskrcn", "did you mean 'maskrcnn'", id="a typing error"),
        pytest.param("sam", "it is one of embedded, embedded-tta, maskrcnn", id="an unknown name"),
        pytest.param("net.onnx", "needs a card", id="weights without a card"),
        pytest.param("no/such/masks", "no such folder of masks", id="a missing folder"),
        pytest.param("", "no such teacher", id="nothing"),
        pytest.param("no.toml", "no such teacher card", id="a missing card"),
    ],
)
def test_what_is_no_teacher(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        load(spec)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("embedded", {"confidence": 0.7}, "teacher.confidence has no effect on the teacher 'embedded'"),
        ("card.toml", {"max_side": 320}, "teacher.max_side has no effect"),
        ("module:function", {"confidence": 0.7}, "teacher.confidence has no effect"),
    ],
)
def test_an_option_without_effect_is_refused(spec: str, options: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load(spec, **options)


def test_importing_loads_no_runtime() -> None:
    program = (
        "import sys, narrowcast.models.load_teacher\n"
        "print([name for name in ('torchvision', 'onnxruntime', 'ai_edge_litert') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
