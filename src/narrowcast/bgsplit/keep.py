"""A trained classifier in a file, and what made it, so that it can be scored again and used."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from narrowcast.bgsplit.net import FeatureScale, SplitNet
from narrowcast.bgsplit.second_stage import Linear
from narrowcast.bgsplit.train import RareClassifier
from narrowcast.core import checkpoint
from narrowcast.core.errors import WeightsError

CLASSIFIER = "classifier.safetensors"


def save_classifier(
    path: Path, classifier: RareClassifier, *, categories: Sequence[str], made_by: dict[str, Any]
) -> None:
    """Write the network (without its auxiliary head), the classifier and `made_by`, which names trunk and method.

    Raises:
        StorageError: the file cannot be written.
    """
    net = classifier.net
    tensors = {f"trunk.{name}": value for name, value in net.trunk.state_dict().items()}
    tensors |= {"mean": net.mean, "weight": classifier.linear.weight, "bias": classifier.linear.bias}
    meta = {
        "categories": list(categories),
        "made_by": made_by,
        "spread": net.spread,
        "is_unit": net.is_unit,
        "is_cosine": net.is_cosine,
        "logit_scale": classifier.logit_scale,
    }
    checkpoint.save(path, tensors, meta=meta)


def load_classifier(path: Path, trunk: nn.Module) -> tuple[RareClassifier, tuple[str, ...], dict[str, Any]]:
    """(classifier, categories, made_by) of a file of `save_classifier`; `trunk` is of the same architecture.

    Raises:
        WeightsError: the file is missing, damaged or of another trunk.
    """
    tensors, meta = checkpoint.load(path)
    try:
        weight, bias = tensors.pop("weight"), tensors.pop("bias")
        scale = FeatureScale(tensors.pop("mean"), meta["spread"], meta["is_unit"])
        categories, made_by = tuple(meta["categories"]), dict(meta["made_by"])
    except KeyError as error:
        raise WeightsError(f"{path}: not a classifier of background splitting: no {error}") from error
    net = SplitNet(
        copy.deepcopy(trunk),
        scale,
        num_categories=len(categories),
        num_auxiliary=0,
        background_logit=None,
        is_cosine=meta["is_cosine"],
    )
    own = {name.removeprefix("trunk."): value for name, value in tensors.items()}
    checkpoint.load_into(net.trunk, own, source=str(path))
    return RareClassifier(net.eval(), Linear(weight, bias), meta["logit_scale"]), categories, made_by


def as_network(classifier: RareClassifier, lower: nn.Module) -> nn.Module:
    """Images in [0, 1] to log p of background and categories: the whole network, to export or to serve."""
    return _Whole(classifier, lower).eval()


class _Whole(nn.Module):
    def __init__(self, classifier: RareClassifier, lower: nn.Module) -> None:
        super().__init__()
        self.lower, self.net = lower, classifier.net
        self.linear = nn.Linear(classifier.linear.weight.shape[1], len(classifier.linear.bias))
        self.scale = classifier.logit_scale
        self.linear.load_state_dict({"weight": classifier.linear.weight, "bias": classifier.linear.bias})

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.net.features(self.lower(images))
        features = nn.functional.normalize(features, dim=1) if self.net.is_cosine else features
        return (self.linear(features) * self.scale).log_softmax(1)
