"""The weights that ship inside: a student pretrained on still images, and the embedded teacher's network."""

from collections.abc import Sequence
from importlib import resources

from narrowcast.core.errors import ClassNameError, WeightsError
from narrowcast.models.classes import ClassMap
from narrowcast.models.jitnet import take_rows
from narrowcast.models.student import AnyStudent, load_student

STUDENT, EMBEDDED_TEACHER = "jitnet-voc.safetensors", "embedded-teacher.safetensors"


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
    rows: list[list[int]] = [[0]]
    for group in class_map.members[1:]:
        members = [ix for member in group for ix in _find(member, known)]
        rows.append(members or [0])
    chosen = take_rows(net, rows)
    _lower_unknown(chosen, [ix for ix, row in enumerate(rows) if ix and row == [0]])
    return chosen


def _find(member: str, known: Sequence[str]) -> list[int]:
    from narrowcast.models.classes import canonical

    names = [canonical(name) for name in known]
    return [names.index(canonical(member))] if canonical(member) in names else []


def _lower_unknown(net: AnyStudent, classes: Sequence[int]) -> None:
    bias = net.classifier.bias  # type: ignore[union-attr]
    for ix in classes:
        bias.data[ix] -= 1.0
