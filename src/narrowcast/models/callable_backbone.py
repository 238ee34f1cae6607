"""A user's own function as a backbone: `module:function`, images to features."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.errors import NarrowcastError, ShapeError, UsageError, did_you_mean
from narrowcast.models.callable_teacher import import_module
from narrowcast.models.preprocess import Preprocessing

DEFAULT_SIZE_HW = (224, 224)


@final
class CallableBackbone:
    """`function(images)`: RGB pixels (n, h, w, 3) in 0-255 to features (n, dim).

    The function's attribute `size_hw` says at which size it wants its images (224×224 where there is none), `key` which
    version of itself it is; without a `key` its source is hashed, which misses a change of weights that it loads.
    Its attribute `text`, a function from words to one feature vector, makes text queries possible.
    """

    def __init__(self, function: Callable[[np.ndarray], Any], *, name: str) -> None:
        self.name, self._function = name, function
        height, width = getattr(function, "size_hw", DEFAULT_SIZE_HW)
        self.size_hw = (int(height), int(width))
        self.preprocessing = Preprocessing(size_hw=self.size_hw, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.key = f"{name}-{getattr(function, 'key', None) or _digest(function)}-{self.size_hw[0]}x{self.size_hw[1]}"
        self.text: Callable[[str], np.ndarray] | None = getattr(function, "text", None)
        self.dim = 0
        self.dim = int(self([np.zeros((*self.size_hw, 3), np.uint8)]).shape[1])

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        return self.preprocessing.prepare(image_rgb)

    def __call__(self, images_rgb: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n dim"]:
        if not images_rgb:
            return np.zeros((0, self.dim), np.float32)
        pixels = np.stack([one if one.shape[:2] == self.size_hw else self.prepare(one) for one in images_rgb])
        try:
            features = np.asarray(self._function(pixels))
        except NarrowcastError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's function may raise; the cause stays attached
            raise NarrowcastError(f"{self.name} failed on an image: {type(error).__name__}: {error}") from error
        if features.ndim != 2 or len(features) != len(pixels) or features.dtype.kind not in "iuf":
            raise ShapeError(
                f"{self.name}: answers with {features.dtype} of shape {features.shape};"
                f" expected numbers ({len(pixels)}, dim)"
            )
        if self.dim and features.shape[1] != self.dim:
            raise ShapeError(f"{self.name}: gives {features.shape[1]} features, before it gave {self.dim}")
        return features.astype(np.float32)


def load_callable_backbone(spec: str) -> CallableBackbone:
    """The backbone that `module:function` names; modules in the current directory are found as well.

    Raises:
        UsageError: the module cannot be imported, or has no such function.
        NarrowcastError, ShapeError: the function fails on a black image, or answers with something else.
    """
    module_name, _, function_name = spec.partition(":")
    module = import_module(module_name, f"--backbone {spec}")
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [name for name in vars(module) if callable(getattr(module, name))]
        raise UsageError(
            f"--backbone {spec}: {module_name} has no function '{function_name}'{did_you_mean(function_name, known)}"
        )
    return CallableBackbone(function, name=spec)


def _digest(function: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # an instance with __call__, or code without a file
        source = repr(type(function))
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
