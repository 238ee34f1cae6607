"""The teacher that a user names: `maskrcnn`, a card, a folder of masks or `module:function`."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from narrowcast.core.errors import ConfigError, UsageError, did_you_mean
from narrowcast.models.card import TeacherCard, read_card
from narrowcast.models.teacher import Teacher


def load_teacher(
    spec: str,
    *,
    device: torch.device,
    num_threads: int,
    confidence: float | None = None,
    max_side: int | None = None,
) -> Teacher:
    """The teacher that `spec` names.

    Args:
        spec: one of `NAMES`, `espnetv2:FILE`, the path of a TOML card, a .safetensors file of the embedded teacher (as
            `loop retrain` writes it), a folder of label PNGs, or `module:function`.
        device: for networks; LiteRT files run on the CPU whatever it is.
        num_threads: for LiteRT and ONNX files; torch has its own setting.
        confidence: least score of an instance, for teachers that have instances; None: not asked for, their default.
        max_side: longest side that the network sees, for teachers that resize; None: not asked for, their default.

    Raises:
        UsageError: `spec` names no teacher (with a suggestion), or an option has no effect on the one it names.
        WeightsError, ConfigError, SourceError, DependencyError: what the teacher needs is missing or does not fit.
    """
    asked = {"confidence": confidence, "max_side": max_side}
    options = {name: value for name, value in asked.items() if value is not None}
    if spec in NAMES:
        build, effective = NAMES[spec]
        _refuse(options.keys() - effective, spec)
        return build(device=device, **options)
    if spec.startswith(ESPNET):
        _refuse(options.keys() - PLAIN, spec)
        return _espnet(Path(spec.removeprefix(ESPNET)), device=device, **options)
    _refuse(options.keys(), spec)
    if spec.endswith(".toml"):
        return _from_card(Path(spec), device=device, num_threads=num_threads)
    if spec.endswith(".safetensors"):
        return _embedded(device=device, weights=Path(spec))
    if spec and Path(spec).is_dir():
        return _mask_folder(Path(spec))
    if re.fullmatch(r"[\w.]+:\w+", spec):
        return _callable(spec)
    raise UsageError(f"--teacher {spec}: {_suggestion(spec)}")


def _refuse(without_effect: Iterable[str], spec: str) -> None:
    """A setting that has no effect is an error."""
    for name in sorted(without_effect):
        raise UsageError(f"teacher.{name} has no effect on the teacher '{spec}'; remove it")


def _suggestion(spec: str) -> str:
    if spec.endswith((".tflite", ".onnx")):
        return "a file of weights needs a card that says how to feed it; give the card's path (see docs/teachers.md)"
    if "/" in spec or "\\" in spec:
        return "no such folder of masks (a card ends in .toml)"
    return (
        f"no such teacher{did_you_mean(spec, NAMES)}; it is one of {', '.join(NAMES)}, espnetv2:FILE, the path of a"
        " TOML card, a folder of masks or module:function"
    )


def from_card(card: TeacherCard, *, device: torch.device, num_threads: int) -> Teacher:
    """The teacher that `card` describes, augmented where it says so.

    Raises:
        ConfigError: the card's weights are neither LiteRT nor ONNX, or do not fit the card.
        WeightsError, DependencyError: the weights cannot be loaded.
    """
    teacher = _runtime(card, device, num_threads)
    if card.augment is None:
        return teacher
    from narrowcast.models.augmented import AugmentedTeacher

    augment = card.augment
    return AugmentedTeacher(
        teacher,
        flip=augment.flip,
        scales=augment.scales,
        tiles=augment.tiles,
        overlap=augment.overlap,
        least_share=augment.least_share,
    )


def _runtime(card: TeacherCard, device: torch.device, num_threads: int) -> Teacher:
    suffix = card.weights.suffix.lower()
    if suffix == ".tflite":
        from narrowcast.models.litert import LiteRTTeacher

        return LiteRTTeacher(card, num_threads=num_threads)
    if suffix == ".onnx":
        from narrowcast.models.onnx_teacher import OnnxTeacher

        return OnnxTeacher(card, num_threads=num_threads, device=device)
    raise ConfigError(f"{card.weights}: the card '{card.name}' needs weights that end in .tflite or .onnx")


# Imports stand inside the functions below so that naming one teacher does not load the runtimes of all others.


def _from_card(path: Path, *, device: torch.device, num_threads: int) -> Teacher:
    return from_card(read_card(path), device=device, num_threads=num_threads)


def _mask_folder(folder: Path) -> Teacher:
    from narrowcast.models.mask_folder import MaskFolderTeacher

    return MaskFolderTeacher(folder)


def _callable(spec: str) -> Teacher:
    from narrowcast.models.callable_teacher import load_callable

    return load_callable(spec)


def _espnet(weights: Path, **options: Any) -> Teacher:
    from narrowcast.models.espnet_teacher import EspnetTeacher

    return EspnetTeacher(weights, **options)


def _embedded(**options: Any) -> Teacher:
    from narrowcast.models.embedded import EmbeddedTeacher

    return EmbeddedTeacher(**options)


def _embedded_tta(**options: Any) -> Teacher:
    from narrowcast.models.embedded import VIEWS, EmbeddedTeacher

    return EmbeddedTeacher(views=VIEWS, **options)


def _maskrcnn(**options: Any) -> Teacher:
    from narrowcast.models.mask_rcnn import MaskRCNNTeacher

    return MaskRCNNTeacher("v1", **options)


def _maskrcnn_v2(**options: Any) -> Teacher:
    from narrowcast.models.mask_rcnn import MaskRCNNTeacher

    return MaskRCNNTeacher("v2", **options)


def _semantic(name: str) -> Callable[..., Teacher]:
    def build(**options: Any) -> Teacher:
        from narrowcast.models.semantic import SemanticTeacher

        return SemanticTeacher(name, **options)

    return build


ESPNET = "espnetv2:"  # and a file of weights
INSTANCES, PLAIN = {"confidence", "max_side"}, {"max_side"}  # options that have an effect
NAMES: dict[str, tuple[Callable[..., Teacher], set[str]]] = {
    "embedded": (_embedded, PLAIN),
    "embedded-tta": (_embedded_tta, PLAIN),
    "maskrcnn": (_maskrcnn, INSTANCES),
    "maskrcnn-v2": (_maskrcnn_v2, INSTANCES),
    **{name: (_semantic(name), PLAIN) for name in ("deeplabv3-mnv3", "deeplabv3-r50", "fcn-r50", "lraspp-mnv3")},
}
