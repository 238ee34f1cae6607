"""Backbones from LiteRT and ONNX files, with a card: how to feed the file, and which of its outputs has the features.

```toml
name = "mobilenet-v1"
weights = "${NARROWCAST_DATA}/models/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"

[input]
size_wh = [224, 224]       # as in a teacher's card: resize, mean, std, layout
```
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ConfigError
from narrowcast.models import litert, onnx_teacher, ports
from narrowcast.models.card import GREY, CardInput, prepare, read_toml, weights_path


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneCard:
    """A file of weights and what is needed to use it as a backbone.

    Attributes:
        output: which output has the features, by position.
    """

    name: str
    weights: Path
    input: CardInput
    output: int = 0
    licence: str = "unknown"
    source: str = ""


@final
class FileBackbone:
    """Features from a file, one image at a time; what the output has beyond one axis is averaged over places."""

    def __init__(self, card: BackboneCard, run: Callable[[UInt8[np.ndarray, "h w 3"]], np.ndarray]) -> None:
        self.name, self.card, self._run = card.name, card, run
        width, height = card.input.size_wh
        self.size_hw = (height, width)
        digest = hashlib.blake2b(card.weights.read_bytes() + repr((card.input, card.output)).encode(), digest_size=8)
        self.key = f"{card.name}-{digest.hexdigest()}"
        self.dim = len(self._one(np.full((height, width, 3), GREY, np.uint8)))

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        raw = CardInput(size_wh=self.card.input.size_wh, resize=self.card.input.resize)
        pixels = prepare(image_rgb, raw).pixels
        return pixels.astype(np.uint8)

    def __call__(self, images_rgb: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n dim"]:
        features = [np.zeros((0, self.dim), np.float32)]
        for image in images_rgb:
            prepared = image if image.shape[:2] == self.size_hw else self.prepare(image)
            features.append(self._one(prepared)[None])
        return np.concatenate(features)

    def _one(self, prepared: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " dim"]:
        answer = self._run(prepared)
        while answer.ndim > 1 and answer.shape[0] == 1:
            answer = answer[0]
        if answer.ndim > 1:  # a map of features: (h, w, c) with the channels last in LiteRT, first in ONNX
            axes = (0, 1) if self.card.weights.suffix == ".tflite" else (1, 2)
            answer = answer.mean(axis=axes[: answer.ndim - 1])
        return answer.reshape(-1).astype(np.float32)


def load_file_backbone(path: Path, *, device: torch.device, num_threads: int) -> FileBackbone:
    """The backbone that the card at `path` describes.

    Raises:
        ConfigError: the card is not TOML, lacks a key or has an unknown one, or does not fit its file.
        WeightsError, DependencyError: the weights cannot be loaded.
    """
    raw = read_toml(path, what="backbone card")
    for key in ("name", "weights", "input"):
        if key not in raw:
            raise ConfigError(f"{path}: a backbone card needs '{key}'")
    raw["weights"] = weights_path(str(raw["weights"]), path)
    card = from_dict(BackboneCard, raw, where=str(path))
    if card.weights.suffix == ".tflite":
        return FileBackbone(card, _litert(card, num_threads))
    if card.weights.suffix == ".onnx":
        return FileBackbone(card, _onnx(card, num_threads, device))
    raise ConfigError(f"{card.weights}: the card '{card.name}' needs weights that end in .tflite or .onnx")


def _litert(card: BackboneCard, num_threads: int) -> Callable[[UInt8[np.ndarray, "h w 3"]], np.ndarray]:
    interpreter = litert.load_interpreter(card.weights, num_threads)
    port = interpreter.get_input_details()[0]
    layout = ports.input_layout([int(size) for size in port["shape"]], card)
    scale, zero_point = port["quantization"]
    answer = _output(interpreter.get_output_details(), card)

    def run(image_rgb: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
        prepared, dtype = prepare(image_rgb, card.input), np.dtype(port["dtype"])
        batch = ports.encode(prepared, layout=layout, dtype=dtype, scale=scale, zero_point=zero_point)
        interpreter.set_tensor(port["index"], batch)
        interpreter.invoke()
        features = interpreter.get_tensor(answer["index"])
        step, zero = answer["quantization"]
        return (features.astype(np.float32) - zero) * step if step else features

    return run


def _onnx(card: BackboneCard, num_threads: int, device: torch.device) -> Callable[..., np.ndarray]:
    session = onnx_teacher.load_session(card.weights, num_threads, device)
    port, answer = session.get_inputs()[0], _output(session.get_outputs(), card)
    layout = ports.input_layout(port.shape, card)
    dtype = onnx_teacher.DTYPES.get(port.type, np.dtype(np.float32))

    def run(image_rgb: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
        batch = ports.encode(prepare(image_rgb, card.input), layout=layout, dtype=dtype)
        return session.run([answer.name], {port.name: batch})[0]

    return run


def _output(outputs: Sequence[Any], card: BackboneCard) -> Any:
    if not 0 <= card.output < len(outputs):
        raise ConfigError(
            f"{card.weights}: has {len(outputs)} outputs; the card '{card.name}' says output = {card.output}"
        )
    return outputs[card.output]
