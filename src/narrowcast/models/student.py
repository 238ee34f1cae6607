"""What a student is, and students as files: configuration, classes and weights in one safetensors file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, WeightsError, did_you_mean
from narrowcast.models.jitnet import JITNet
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.mobilenet import MobileNetV2Student

FORMAT = 1  # of the meta that save_student writes


@runtime_checkable
class Student(Protocol):
    """A cheap network that can be trained while it is used: an `nn.Module` with these beside the usual members."""

    architecture: ClassVar[str]
    num_classes: int
    training: bool

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build the network again."""
        ...

    def coarse_logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h2 w2"]:
        """The logits before the last resize, from images in [0, 1]."""
        ...

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        """The logits at the images' size."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


AnyStudent = JITNet | MobileNetV2Student | LiteSegmenter  # what this package can build: both a Student and an nn.Module
ARCHITECTURES: dict[
    str, type[JITNet] | type[MobileNetV2Student] | type[LiteSegmenter]
] = {  # the names that files of weights carry
    JITNet.architecture: JITNet,
    MobileNetV2Student.architecture: MobileNetV2Student,
    LiteSegmenter.architecture: LiteSegmenter,
}


def build_student(config: Mapping[str, Any]) -> AnyStudent:
    """A freshly initialised student: `{"architecture": "jitnet", "num_classes": 4, "width": 0.5}`.

    Raises:
        ConfigError: unknown architecture, unknown or missing keys, or a value out of its range.
    """
    arguments = dict(config)
    name = arguments.pop("architecture", None)
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError(
            f"unknown student architecture {name!r}; known: {known}{did_you_mean(str(name), ARCHITECTURES)}"
        )
    try:
        return ARCHITECTURES[name].from_config(arguments)
    except TypeError as error:
        raise ConfigError(f"not the configuration of a {name} student: {error}") from error


def student_config(net: Student) -> dict[str, Any]:
    """What `build_student` needs to build `net` again, as JSON-serialisable values."""
    return {"architecture": net.architecture, **net.config}


def save_student(
    path: Path,
    net: Student,
    classes: Sequence[str],
    *,
    meta: Mapping[str, Any] | None = None,
    kernel_dtype: torch.dtype = torch.float32,
) -> None:
    """Write a student and its class names to one file, whole or not at all.

    Args:
        path: the file, by habit `*.safetensors`.
        net: the student; its configuration is written beside its weights.
        classes: a name for each logit; the first is the background's.
        meta: anything JSON-serialisable that should travel with the weights.
        kernel_dtype: stored precision of the convolution kernels (float16 halves the file); the rest stays as it is.

    Raises:
        ConfigError: not one name for each logit.
        StorageError: the folder cannot be written or the disk is full.
    """
    if len(classes) != net.num_classes:
        raise ConfigError(f"a student with {net.num_classes} logits needs as many class names, got {len(classes)}")
    tensors = {name: t.to(kernel_dtype) if t.ndim > 1 else t for name, t in net.state_dict().items()}
    header = {"format": FORMAT, "student": student_config(net), "classes": list(classes), "meta": dict(meta or {})}
    checkpoint.save(Path(path), tensors, meta=header)


def load_student(path: Path) -> tuple[AnyStudent, tuple[str, ...], dict[str, Any]]:
    """The student that `save_student` wrote, on the CPU in evaluation mode; its class names; its `meta`.

    Does not disturb torch's random generator.

    Raises:
        WeightsError: the file is missing, damaged, not a student, or its weights do not fit its own configuration.
    """
    tensors, header = checkpoint.load(Path(path))
    config, classes, meta = _read_header(header, source=str(path))
    try:
        with torch.random.fork_rng(devices=[]):
            net = build_student(config)
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}") from error
    if len(classes) != net.num_classes:
        raise WeightsError(f"{path}: damaged: {len(classes)} class names for {net.num_classes} logits")
    checkpoint.load_into(net, tensors, source=str(path))
    return net.eval(), classes, meta


def _read_header(header: Mapping[str, Any], *, source: str) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]:
    version = header.get("format") if isinstance(header, Mapping) else None
    if version is None or "student" not in header:
        raise WeightsError(f"{source}: holds no student; expected a file that `narrowcast stream` wrote")
    if version != FORMAT:
        raise WeightsError(f"{source}: student format {version}; this version of narrowcast reads format {FORMAT}")
    config, classes, meta = header["student"], header.get("classes"), header.get("meta", {})
    if not (isinstance(config, dict) and isinstance(classes, list) and isinstance(meta, dict)):
        raise WeightsError(f"{source}: damaged: its header is not that of a student")
    return config, tuple(str(name) for name in classes), meta
