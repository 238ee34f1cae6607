"""One contract for all teachers: pure, 8-bit labels at the image's size, no value without a class."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from narrowcast.core import checkpoint
from narrowcast.models.augmented import AugmentedTeacher
from narrowcast.models.callable_teacher import CallableTeacher
from narrowcast.models.card import read_card
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.embedded import EmbeddedTeacher
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.litert import LiteRTTeacher
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.mask_rcnn import MaskRCNNTeacher, build_network
from narrowcast.models.onnx_teacher import OnnxTeacher
from narrowcast.models.semantic import NETWORKS, SemanticTeacher
from narrowcast.models.teacher import Teacher
from tiny_networks import CLASSES, brightest, noise, write_card, write_onnx, write_tflite

CPU = torch.device("cpu")


def _callable(folder: Path) -> Teacher:
    return CallableTeacher(brightest, classes=CLASSES, name="brightest")


def _augmented(folder: Path) -> Teacher:
    return AugmentedTeacher(_callable(folder), scales=(1.0, 0.6), tiles=(2, 2), least_share=0.5)


def _selected(folder: Path) -> Teacher:
    return SelectedTeacher(_callable(folder), parse_classes("blue=sky", CLASSES))


def _masks(folder: Path) -> Teacher:
    Image.fromarray(np.random.default_rng(0).choice(np.uint8([0, 1, 2, 255]), (20, 30))).save(folder / "0.png")
    return MaskFolderTeacher(folder, classes=CLASSES)


def _onnx(folder: Path) -> Teacher:
    pytest.importorskip("onnxruntime")
    weights = write_onnx(folder / "net.onnx", shape=(1, 3, 16, 24), out_shape=(1, 3, 16, 24))
    return OnnxTeacher(read_card(write_card(folder / "card.toml", weights, size_wh=(24, 16))), num_threads=1)


def _litert(folder: Path) -> Teacher:
    pytest.importorskip("ai_edge_litert")
    weights = write_tflite(folder / "net.tflite", size_wh=(24, 16))
    card = write_card(folder / "card.toml", weights, size_wh=(24, 16), more='resize = "letterbox"\n')
    return LiteRTTeacher(read_card(card), num_threads=1)


def _embedded(folder: Path) -> Teacher:
    torch.manual_seed(0)
    halves = {name: tensor.half() for name, tensor in LiteSegmenter(21).state_dict().items()}
    checkpoint.save(folder / "embedded.safetensors", halves, meta={})
    return EmbeddedTeacher(device=CPU, max_side=64, weights=folder / "embedded.safetensors")


def _mask_rcnn(folder: Path) -> Teacher:
    torch.manual_seed(0)
    torch.save(build_network("v1", confidence=0.5, max_side=32).state_dict(), folder / "net.pth")
    return MaskRCNNTeacher(device=CPU, confidence=0.012, max_side=32, weights=folder / "net.pth")


def _semantic(folder: Path) -> Teacher:
    torch.manual_seed(0)
    published = NETWORKS["deeplabv3-mnv3"]
    torch.save(published.build(weights=None, **published.arguments).state_dict(), folder / "net.pth")
    return SemanticTeacher("deeplabv3-mnv3", device=CPU, max_side=64, weights=folder / "net.pth")


ALL: dict[str, Callable[[Path], Teacher]] = {
    "callable": _callable,
    "augmented": _augmented,
    "selected": _selected,
    "masks": _masks,
    "onnx": _onnx,
    "litert": _litert,
    "embedded": _embedded,
    "mask-rcnn": _mask_rcnn,
    "semantic": _semantic,
}


@pytest.fixture(scope="module", params=ALL)
def teacher(request, tmp_path_factory) -> Teacher:
    return ALL[request.param](tmp_path_factory.mktemp(request.param))


def test_classes_begin_with_the_background(teacher: Teacher) -> None:
    assert isinstance(teacher.classes, tuple)
    assert teacher.classes[0] == "background"
    assert 2 <= len(set(teacher.classes)) == len(teacher.classes) <= 255


@pytest.mark.parametrize("size_hw", [(36, 64), (37, 53), (5, 41), (1, 1)], ids=str)
def test_labels_are_8_bits_at_the_images_size(teacher: Teacher, size_hw: tuple[int, int]) -> None:
    answer = teacher(noise(*size_hw), frame_index=0)
    assert (answer.labels.dtype, answer.labels.shape) == (np.uint8, size_hw)
    assert ((answer.labels < len(teacher.classes)) | (answer.labels == 255)).all()


def test_the_same_image_gets_the_same_labels(teacher: Teacher) -> None:
    image = noise(37, 53, seed=3)
    first = teacher(image, frame_index=0)
    kept = first.labels.copy()
    teacher(noise(24, 90, seed=4), frame_index=0)
    second = teacher(image, frame_index=0)
    assert np.array_equal(kept, second.labels)
    assert np.array_equal(kept, first.labels)  # nor does an answer change when the next one is made
    assert np.array_equal(image, noise(37, 53, seed=3))


def test_boxes_are_rows_of_four(teacher: Teacher) -> None:
    boxes = teacher(noise(37, 53), frame_index=0).boxes_xyxy
    assert boxes is None or (boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4)


def test_frames_that_may_not_be_written_to_are_fine(teacher: Teacher) -> None:
    image = noise(36, 64)
    image.flags.writeable = False
    assert teacher(image, frame_index=0).labels.shape == (36, 64)


def test_a_view_of_a_larger_image_is_fine(teacher: Teacher) -> None:
    larger = noise(80, 140)
    part = larger[4:40, 130:66:-1]
    assert np.array_equal(teacher(part, frame_index=0).labels, teacher(part.copy(), frame_index=0).labels)
