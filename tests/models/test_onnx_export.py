from pathlib import Path

import numpy as np
import pytest
import torch

from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models.card import read_card
from narrowcast.models.jitnet import JITNet
from narrowcast.models.onnx_export import compare, export_onnx
from narrowcast.models.onnx_teacher import OnnxTeacher

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
CLASSES = ("background", "a person's", "auto")


@pytest.fixture(scope="module")
def net() -> JITNet:
    torch.manual_seed(0)
    net = JITNet(len(CLASSES), width=0.25)
    torch.nn.init.normal_(net.classifier.weight)  # the first labels are not all the same then
    return net.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, net: JITNet) -> Path:
    folder = tmp_path_factory.mktemp("export")
    made = export_onnx(net, folder / "student.onnx", classes=CLASSES, size_wh=(64, 40))
    assert made.max_difference < 1e-3
    assert made.same_labels > 0.999
    return folder


def test_the_file_is_a_teacher_that_says_what_the_student_says(folder: Path, net: JITNet) -> None:
    teacher = OnnxTeacher(read_card(folder / "student.toml"), num_threads=1)
    assert teacher.classes == ("background", "a person s", "auto")
    image = np.random.default_rng(1).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        ours = net(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255).argmax(1)[0].numpy()
    assert len(np.unique(ours)) > 1
    assert np.mean(teacher(image).labels == ours) > 0.999
    assert sorted(path.name for path in folder.iterdir()) == ["student.onnx", "student.toml"]


def test_a_file_that_computes_something_else_is_found_out(folder: Path) -> None:
    torch.manual_seed(1)
    difference, _ = compare(JITNet(len(CLASSES), width=0.25).eval(), folder / "student.onnx", (64, 40))
    assert difference > 0.01


def test_only_onnx_files_are_written(net: JITNet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        export_onnx(net, tmp_path / "student.pt", classes=CLASSES, size_wh=(64, 40))


def test_what_does_not_agree_is_not_kept(net: JITNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("narrowcast.models.onnx_export.MAX_DIFFERENCE", -1.0)
    monkeypatch.setattr("narrowcast.models.onnx_export._write", lambda net, path, images: path.write_bytes(b""))
    monkeypatch.setattr("narrowcast.models.onnx_export.compare", lambda *_: (0.0, 1.0))
    with pytest.raises(WeightsError, match="nothing was written"):
        export_onnx(net, tmp_path / "student.onnx", classes=CLASSES, size_wh=(64, 40))
    assert list(tmp_path.iterdir()) == []
