"""torchvision's networks as teachers: the same answers as torchvision gives, and weights that are never downloaded."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import detection

from narrowcast.core.errors import ConfigError, WeightsError
from narrowcast.models import hub_weights, pixels
from narrowcast.models.mask_rcnn import WEIGHTS, MaskRCNNTeacher, build_network, paint
from narrowcast.models.semantic import NETWORKS, SemanticTeacher
from narrowcast.models.taxonomy import COCO, VOC
from tiny_networks import noise

CPU = torch.device("cpu")


def save_random(path: Path, network: torch.nn.Module) -> Path:
    """Weights with norms that are far from the identity, so that their eps and statistics matter."""
    generator = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif name.startswith("classifier") and tensor.ndim == 4:
            tensor.mul_(30)  # or the biases decide everything
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    """A torch.hub folder with random weights under the published names of two networks."""
    folder = tmp_path_factory.mktemp("torch") / "hub" / "checkpoints"
    torch.manual_seed(0)
    url = WEIGHTS["v1"].url
    save_random(folder / url.rpartition("/")[2], build_network("v1", confidence=0.5, max_side=64))
    published = NETWORKS["lraspp-mnv3"]
    network = published.build(weights=None, **published.arguments)
    save_random(folder / published.weights.url.rpartition("/")[2], network)
    return folder.parent.parent


@pytest.fixture
def use_hub(hub: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(hub))


@pytest.mark.usefixtures("use_hub")
def test_mask_rcnn_sees_what_torchvision_sees() -> None:
    """The same file, loaded by torchvision's own builder, gives the same boxes and masks."""
    teacher = MaskRCNNTeacher(device=CPU, confidence=0.012, max_side=64)
    theirs = detection.maskrcnn_resnet50_fpn(weights=WEIGHTS["v1"], max_size=64, box_score_thresh=0.012).eval()
    image = noise(40, 56)
    with torch.inference_mode():
        found = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
    names = [WEIGHTS["v1"].meta["categories"][label] for label in found["labels"]]
    kept = [name in COCO for name in names]
    expected = np.zeros((40, 56), np.uint8)
    for mask, name in reversed(list(zip(found["masks"][kept][:, 0], np.array(names)[kept], strict=True))):
        expected[mask.numpy() > 0.5] = COCO.index(name)
    answer = teacher(image)
    assert answer.boxes_xyxy is not None
    assert len(np.unique(expected)) > 1
    boxes, their_boxes = (sorted(map(tuple, rows)) for rows in (answer.boxes_xyxy, found["boxes"][kept].numpy()))
    np.testing.assert_allclose(boxes, their_boxes, atol=1e-3)  # sorted: scores of random weights are nearly ties
    assert (answer.labels == expected).mean() > 0.9


def test_the_surer_instance_is_on_top() -> None:
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, :, :3], masks[1, :, 2:5], masks[2] = True, True, True
    labels = paint(masks, torch.tensor([7, 3, 9]), torch.tensor([True, True, False]))
    assert labels[0].tolist() == [7, 7, 7, 3, 3, 0]
    assert labels.dtype == np.uint8


def test_no_instance_is_background() -> None:
    empty = torch.zeros(0, dtype=torch.long)
    assert not paint(torch.zeros(0, 4, 6, dtype=torch.bool), empty, empty.bool()).any()


def test_all_of_coco_is_reached() -> None:
    for weights in WEIGHTS.values():
        categories = weights.meta["categories"]
        assert set(COCO[1:]) <= set(categories)
        assert len(categories) == 91


@pytest.mark.usefixtures("use_hub")
def test_a_segmenter_says_what_torchvision_says() -> None:
    teacher = SemanticTeacher("lraspp-mnv3", device=CPU, max_side=64)
    published = NETWORKS["lraspp-mnv3"]
    network = published.build(weights=published.weights).eval()
    image = noise(48, 64) // 4
    image[:, 32:] += 190
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        logits = network((torch.from_numpy(image).permute(2, 0, 1)[None] / 255 - mean) / std)["out"]
    expected = logits[0].argmax(0).numpy()
    assert len(np.unique(expected)) > 1
    assert (teacher(image).labels == expected).mean() > 0.98
    assert teacher.classes == VOC


@pytest.mark.parametrize("name", NETWORKS)
def test_published_networks_have_vocs_classes(name: str) -> None:
    categories = NETWORKS[name].weights.meta["categories"]
    assert tuple(categories[1:]) == VOC[1:]
    with torch.device("meta"):
        network = NETWORKS[name].build(weights=None, **NETWORKS[name].arguments)
    assert any(name.startswith("aux_classifier") for name in network.state_dict()) == (name != "lraspp-mnv3")


def test_missing_weights_say_what_where_from_and_what_else(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for make in (lambda: MaskRCNNTeacher("v2", device=CPU), lambda: SemanticTeacher("fcn-r50", device=CPU)):
        with pytest.raises(WeightsError) as caught:
            make()
        message = str(caught.value)
        assert "\n" not in message
        for part in ("https://download.pytorch.org/models/", str(tmp_path), "embedded", "card", "module:function"):
            assert part in message
    assert not list(tmp_path.rglob("*"))


def test_the_documentation_names_every_file(repository: Path) -> None:
    text = (repository / "docs" / "teachers.md").read_text(encoding="utf-8")
    urls = [weights.url for weights in WEIGHTS.values()] + [network.weights.url for network in NETWORKS.values()]
    assert [url for url in urls if f"`{url.rpartition('/')[2]}`" not in text] == []


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_damaged_foreign_and_dangerous_files_are_refused(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    files = {
        "empty.pth": lambda path: path.write_bytes(b""),
        "noise.pth": lambda path: path.write_bytes(b"nothing that torch wrote"),
        "list.pth": lambda path: torch.save([torch.zeros(1)], path),
        "foreign.pth": lambda path: torch.save({"weight": torch.zeros(1)}, path),
        "trap.pth": lambda path: path.write_bytes(pickle.dumps(Trap(sprung), protocol=2)),
        "zipped-trap.pth": lambda path: torch.save({"weight": Trap(sprung)}, path),
        "missing.pth": lambda path: None,
    }
    for name, write in files.items():
        write(tmp_path / name)
        with pytest.raises(WeightsError, match=name) as caught:
            hub_weights.load_weights(torch.nn.Linear(2, 2), tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not sprung.exists()


@pytest.mark.parametrize("settings", [{"confidence": 1.0}, {"confidence": -0.1}, {"max_side": 8}], ids=str)
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(ConfigError, match="expected"):
        MaskRCNNTeacher(device=CPU, **settings)
    with pytest.raises(ConfigError, match="did you mean 'fcn-r50'"):
        SemanticTeacher("fcn-r5", device=CPU)


@pytest.mark.parametrize("size_hw", [(96, 128), (71, 33), (12, 16)])
def test_labels_at_equals_the_slow_way(size_hw: tuple[int, int]) -> None:
    """The arg max of all planes at full size; blobs, so that winners have an extent."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.nn.functional.interpolate(
        torch.randn(1, 21, 4, 4, generator=generator), size=(12, 16), mode="bicubic"
    )
    slow = torch.nn.functional.interpolate(coarse, size=size_hw, mode="bilinear", align_corners=False)[0].argmax(0)
    fast = pixels.labels_at(coarse[0], size_hw)
    assert (fast == slow.numpy()).mean() > 0.99
    assert fast.dtype == np.uint8


def test_labels_at_of_one_class_is_flat() -> None:
    logits = torch.zeros(5, 3, 4)
    logits[2] = 1
    assert (pixels.labels_at(logits, (7, 9)) == 2).all()


@pytest.mark.usefixtures("use_hub")
def test_several_images_in_one_call_get_what_each_gets_alone() -> None:
    images = [noise(40, 56), noise(40, 56)[::-1].copy(), 255 - noise(40, 56)]
    teachers = (
        MaskRCNNTeacher(device=CPU, confidence=0.012, max_side=64),
        SemanticTeacher("lraspp-mnv3", device=CPU, max_side=64),
    )
    for teacher in teachers:
        for image, answer in zip(images, teacher.answer_all(images), strict=True):
            alone = teacher(image)
            assert (alone.labels == answer.labels).mean() > 0.99
            assert (alone.boxes_xyxy is None) == (answer.boxes_xyxy is None)


@pytest.mark.gpu
@pytest.mark.usefixtures("use_hub")
def test_cuda_agrees_with_the_cpu() -> None:
    image = noise(120, 160) // 8 + np.linspace(0, 220, 160, dtype=np.uint8)[None, :, None]
    cuda = torch.device("cuda")
    on_cpu, on_cuda = (SemanticTeacher("lraspp-mnv3", device=device, max_side=160)(image) for device in (CPU, cuda))
    assert (on_cpu.labels == on_cuda.labels).mean() > 0.9
    answer = MaskRCNNTeacher(device=cuda, confidence=0.012, max_side=160)(image)
    assert answer.labels.shape == image.shape[:2]
    assert answer.boxes_xyxy is not None
