"""The weights that ship inside: a student pretrained on still images, and the embedded teacher's network."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from narrowcast.core.errors import UsageError, WeightsError, did_you_mean
from narrowcast.models.classes import ClassMap, canonical
from narrowcast.models.jitnet import take_rows
from narrowcast.models.student import AnyStudent, build_student, load_student, student_config

STUDENT, EMBEDDED_TEACHER = "jitnet-voc.safetensors", "embedded-teacher.safetensors"
FRESH = {"jitnet": {"min_head_channels": 32}, "mobilenetv2": {}}  # networks that can begin with random weights
UNKNOWN_MARGIN = 1.0  # logits; ours: how far a class that has yet to be learned starts below the background


def load_shipped(name: str) -> tuple[AnyStudent, tuple[str, ...]]:
    """The network in the package's file `name`, and its classes.

    Raises:
        WeightsError: the installation lacks the file.
    """
    file = resources.files("narrowcast") / "weights" / name
    if not file.is_file():
        raise WeightsError(f"narrowcast/weights/{name} is missing from this installation; reinstall narrowcast")
    with resources.as_file(file) as path:
        net, classes, _ = load_student(path)
    return net, classes


def student_for(net: AnyStudent, known: Sequence[str], class_map: ClassMap) -> AnyStudent:
    """`net`, which knows the classes `known`, as a student of a stream's classes: each takes the rows that it needs.

    A merged class begins with the mean of its members' rows. A class that `net` does not know begins with the
    background's row, a little lower: it has to be learned, and until then is not predicted.
    """
    index = {canonical(name): ix for ix, name in enumerate(known)}
    rows = [[0]] + [
        [index[canonical(name)] for name in group if canonical(name) in index] for group in class_map.members[1:]
    ]
    classifier = getattr(net, "classifier", None)
    if not isinstance(classifier, nn.Conv2d):
        raise UsageError(f"a {net.architecture} network cannot be a stream's student; use jitnet or mobilenetv2")
    chosen = take_rows(net, [row or [0] for row in rows])
    bias = chosen.classifier.bias  # type: ignore[union-attr]
    for ix, row in enumerate(rows):
        if not row:
            bias.data[ix] -= UNKNOWN_MARGIN  # type: ignore[union-attr, index]
    return chosen


def student_called(spec: str, class_map: ClassMap) -> AnyStudent:
    """The student that `spec` names, over a stream's classes.

    Args:
        spec: "pretrained" (the one that ships), "jitnet" or "mobilenetv2" with random weights, or a `.safetensors` file
            that has the stream's classes or gives rows for them.

    Raises:
        UsageError: no such student; it takes a network that can be a stream's student.
        WeightsError: the file is missing, damaged or not a student.
    """
    if spec == "pretrained":
        return student_for(*load_shipped(STUDENT), class_map)
    if spec in FRESH:
        return fresh_student(spec, len(class_map.classes))
    if not spec.endswith(".safetensors"):
        known = ("pretrained", *FRESH)
        raise UsageError(
            f"--student {spec}: expected {', '.join(known)} or a .safetensors file{did_you_mean(spec, known)}"
        )
    net, known, _ = load_student(Path(spec))
    return net if known == class_map.classes else student_for(net, known, class_map)


def varied(net: AnyStudent, options: Mapping[str, Any]) -> AnyStudent:
    """`net` built with other options; its weights where they still fit (as with another `scale`), else random ones.

    Raises:
        ConfigError: an option that the network does not have, or a value out of its range.
    """
    made = build_student(student_config(net) | dict(options))
    weights = net.state_dict()
    if {name: one.shape for name, one in made.state_dict().items()} == {
        name: one.shape for name, one in weights.items()
    }:
        made.load_state_dict(weights)
    return made.eval()


def fresh_student(name: str, num_classes: int) -> AnyStudent:
    """A student with random weights: "jitnet" as it ships (at least 32 channels in the head) or "mobilenetv2"."""
    return build_student({"architecture": name, "num_classes": num_classes, **FRESH[name]})
