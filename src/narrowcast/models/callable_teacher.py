"""A user's own function as a teacher: `module:function`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.errors import ConfigError, NarrowcastError, ShapeError, UsageError, did_you_mean
from narrowcast.models.card import check_classes
from narrowcast.models.teacher import IGNORE, TeacherLabels


@final
class CallableTeacher:
    """`function(image_rgb)`, which returns labels (h, w), or labels and boxes (n, 4) in xyxy.

    Labels may be integers of any width, or bool; each is an index into `classes`, or 255 for unknown.

    Args:
        name: what messages call it.

    Raises:
        ConfigError: the classes cannot be a teacher's.
        ShapeError: when called: the function returned something else.
        NarrowcastError: when called: the function raised.
    """

    def __init__(self, function: Callable[[np.ndarray], Any], *, classes: tuple[str, ...], name: str) -> None:
        check_classes(classes, where=name)
        self.classes = classes
        self._function, self._name = function, name

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        try:
            answer = self._function(image_rgb.copy())  # a copy: the frame is the student's as well
        except NarrowcastError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's function may raise; the cause stays attached
            where = "an image" if frame_index is None else f"frame {frame_index}"
            raise NarrowcastError(f"{self._name} failed on {where}: {type(error).__name__}: {error}") from error
        labels, boxes_xyxy = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        checked = self._labels(self._array(labels, "labels"), image_rgb.shape[:2])
        return TeacherLabels(checked, None if boxes_xyxy is None else self._boxes(self._array(boxes_xyxy, "boxes")))

    def _array(self, values: Any, what: str) -> np.ndarray:
        try:
            return np.asarray(values)
        except (ValueError, TypeError, RuntimeError) as error:  # lists of several lengths, a tensor that has a gradient
            raise ShapeError(f"{self._name}: its {what} are not an array: {error}") from error

    def _labels(self, labels: np.ndarray, size_hw: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
        if labels.dtype.kind not in "iub":
            raise ShapeError(f"{self._name}: its labels are {labels.dtype}; expected integers")
        if labels.shape != size_hw:
            raise ShapeError(f"{self._name}: its labels have the shape {labels.shape}; expected the image's, {size_hw}")
        labels = labels.astype(np.uint8) if labels.dtype.kind == "b" else labels
        strange = labels[((labels >= len(self.classes)) | (labels < 0)) & (labels != IGNORE)]
        if strange.size:
            raise ShapeError(
                f"{self._name}: gives label {strange[0]}; expected 0 to {len(self.classes) - 1}, or 255 for unknown"
            )
        return labels.astype(np.uint8)

    def _boxes(self, boxes_xyxy: np.ndarray) -> Float32[np.ndarray, "n 4"]:
        if boxes_xyxy.size == 0:
            return np.zeros((0, 4), np.float32)
        if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4 or boxes_xyxy.dtype.kind not in "iuf":
            raise ShapeError(
                f"{self._name}: its boxes are {boxes_xyxy.dtype} of shape {boxes_xyxy.shape}; expected numbers (n, 4)"
            )
        return boxes_xyxy.astype(np.float32)


def load_callable(spec: str) -> CallableTeacher:
    """The teacher that `module:function` names; modules in the current directory are found as well.

    Its classes are the function's attribute `classes`, otherwise the module's `CLASSES`.

    Raises:
        UsageError: the module cannot be imported, or has no such function.
        ConfigError: the classes are missing or cannot be a teacher's.
    """
    module_name, _, function_name = spec.partition(":")
    module = import_module(module_name, f"--teacher {spec}")
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [name for name in vars(module) if callable(getattr(module, name))]
        raise UsageError(
            f"--teacher {spec}: {module_name} has no function '{function_name}'{did_you_mean(function_name, known)}"
        )
    classes = getattr(function, "classes", None) or getattr(module, "CLASSES", None)
    if isinstance(classes, str) or not classes:
        raise ConfigError(
            f"--teacher {spec}: set {function_name}.classes or {module_name}.CLASSES to the names of its labels,"
            " the background first"
        )
    return CallableTeacher(function, classes=tuple(classes), name=spec)


def import_module(module_name: str, where: str) -> Any:
    """The module, those in the current directory included; errors begin with `where`, the option that named it."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a user's module may raise; the cause stays attached
        raise UsageError(f"{where}: {module_name} cannot be imported: {type(error).__name__}: {error}") from error
