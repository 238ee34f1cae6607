"""The classifier as a small file: weights, bias, and which backbone must make the features, in safetensors and ONNX."""

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from narrowcast.core import checkpoint
from narrowcast.core.errors import DependencyError, SourceError, UsageError, WeightsError
from narrowcast.core.files import write_bytes
from narrowcast.mine.decode import decode
from narrowcast.mine.features import VersionNote, normalised
from narrowcast.mine.linear import LinearModel
from narrowcast.mine.sources import Place
from narrowcast.models.backbones import Backbone

KIND = "narrowcast-head"
BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Head:
    """A linear classifier on normalised features of a backbone.

    Attributes:
        category: what a score above `threshold` says.
        backbone, key: the backbone by name, and what its features were made with.
    """

    category: str
    model: LinearModel
    backbone: str
    key: str
    threshold: float = 0.0
    preprocessing: dict[str, Any] | None = None

    def check(self, backbone: Backbone) -> None:
        """Nothing, where `backbone` is the one that the head was fitted on.

        Raises:
            WeightsError: it is another one, or its weights or preprocessing have changed.
        """
        if backbone.key != self.key:
            raise WeightsError(
                f"the head of '{self.category}' was fitted on features of '{self.key}', not of '{backbone.key}'"
            )


@dataclass(frozen=True, slots=True)
class Prediction:
    """The score of one photo, as a logit and as a probability; `error` instead where it cannot be decoded."""

    path: str
    score: float | None
    probability: float | None
    is_positive: bool | None
    error: str = ""


def head_of(model: LinearModel, note: VersionNote, category: str) -> Head:
    """The head of a fitted model on a version of features.

    Raises:
        UsageError: no backbone makes these features.
    """
    if not note.backbone:
        raise UsageError(f"the features '{note.name}' are of no backbone that could be named; a head cannot use them")
    settings = note.preprocessing.to_json() if note.preprocessing is not None else None
    return Head(category, model, note.backbone, note.key, preprocessing=settings)


def save_head(head: Head, path: Path) -> None:
    """Write `path` (.safetensors)."""
    meta = {
        "kind": KIND,
        "category": head.category,
        "backbone": head.backbone,
        "key": head.key,
        "threshold": head.threshold,
        "preprocessing": head.preprocessing,
        "features": "L2-normalised",
    }
    tensors = {"weights": torch.from_numpy(head.model.weights), "bias": torch.tensor([head.model.bias])}
    checkpoint.save(path, tensors, meta=meta)


def load_head(path: Path) -> Head:
    """What `save_head` wrote.

    Raises:
        WeightsError: the file is missing, damaged or no head.
    """
    tensors, meta = checkpoint.load(path)
    if meta.get("kind") != KIND or not {"weights", "bias"} <= tensors.keys():
        raise WeightsError(f"{path}: not a head of narrowcast mine; make one with narrowcast mine head")
    model = LinearModel(tensors["weights"].float().numpy(), float(tensors["bias"][0]))
    return Head(
        meta["category"], model, meta["backbone"], meta["key"], float(meta["threshold"]), meta.get("preprocessing")
    )


def export_onnx(head: Head, path: Path) -> None:
    """The head as ONNX: features (n, dim), not normalised, to score and probability (n).

    Raises:
        DependencyError: onnx is not installed.
    """
    try:
        import onnx  # an extra
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise DependencyError(f"{path.name} needs onnx: pip install 'narrowcast[export]'") from None
    weights = head.model.weights.astype(np.float32)
    constants = {
        "weights": weights[:, None],
        "bias": np.array([head.model.bias], np.float32),
        "axes": np.array([1], np.int64),
        "tiny": np.array([1e-12], np.float32),
    }
    nodes = [
        helper.make_node("ReduceL2", ["features", "axes"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "tiny"], ["safe"]),
        helper.make_node("Div", ["features", "safe"], ["normalised"]),
        helper.make_node("MatMul", ["normalised", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["column"]),
        helper.make_node("Squeeze", ["column", "axes"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "narrowcast-head",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(weights)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("score", "probability")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in (("category", head.category), ("backbone", head.backbone), ("key", head.key)):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString())


def predict(head: Head, backbone: Backbone, places: Iterable[Place]) -> Generator[Prediction, None, None]:
    """Score photos in order; what cannot be decoded gets its reason.

    Raises:
        WeightsError: the backbone is not the head's.
    """
    head.check(backbone)
    with ThreadPoolExecutor(max(2, torch.get_num_threads())) as workers:
        batch: list[Place] = []
        for place in places:
            batch.append(place)
            if len(batch) == BATCH_SIZE:
                yield from _predict(head, backbone, batch, workers)
                batch = []
        yield from _predict(head, backbone, batch, workers)


def _predict(
    head: Head, backbone: Backbone, batch: Sequence[Place], workers: ThreadPoolExecutor
) -> Generator[Prediction, None, None]:
    def prepare(place: Place) -> np.ndarray | str:
        try:
            return backbone.prepare(decode(place.read(), least_hw=backbone.size_hw).image_rgb)
        except (SourceError, OSError, KeyError) as error:
            return getattr(error, "strerror", None) or str(error)

    prepared = list(workers.map(prepare, batch))
    pixels = [one for one in prepared if not isinstance(one, str)]
    scores = iter(head.model.scores(normalised(backbone(pixels))).tolist() if pixels else [])
    for place, one in zip(batch, prepared, strict=True):
        if isinstance(one, str):
            yield Prediction(place.path, None, None, None, one)
            continue
        score = next(scores)
        yield Prediction(place.path, score, float(expit(score - head.threshold)), score > head.threshold)
