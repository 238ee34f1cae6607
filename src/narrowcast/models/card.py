"""Teacher cards: a small TOML file that says how to feed a file of weights and what its labels mean.

```toml
name = "deeplab-voc"
weights = "${NARROWCAST_DATA}/models/deeplabv3_mnv2_pascal_quant.tflite"    # .tflite or .onnx
classes = "voc"                 # or coco, cityscapes, or a list of names, the background first
licence = "Apache-2.0"          # optional, as is source

[input]
size_wh = [513, 513]
resize = "stretch"              # or "letterbox"
mean = [0.0, 0.0, 0.0]          # of 0-255 RGB; the network gets (pixels - mean) / std
std = [1.0, 1.0, 1.0]

[output]                        # optional, where it cannot be read off the shapes
layout = "auto"                 # or "HW" (an arg max map), "CHW", "HWC"
has_background = true           # false: the network's class 0 is the second of `classes`

[augment]                       # optional: test-time augmentation, a better and costlier teacher
flip = true
scales = [1.0, 0.65]
tiles = [2, 2]
```
"""

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ConfigError, WeightsError, did_you_mean
from narrowcast.models.taxonomy import BACKGROUND, TAXONOMIES
from narrowcast.models.teacher import IGNORE

DEFAULT_DATA = Path("../shared/data")  # from the current directory, where NARROWCAST_DATA is not set
GREY = 127


@dataclass(frozen=True, kw_only=True, slots=True)
class CardInput:
    """How an image becomes the network's input.

    Attributes:
        size_wh: width and height that the network takes.
        resize: "stretch" to that size, or "letterbox": keep the aspect and pad with the mean (grey where it is 0).
        mean, std: per channel, of RGB in 0-255; the network gets (pixels - mean) / std. Where they are 0 and 1 and the
            network takes 8-bit integers, it gets the pixels as they are.
        layout: "auto" reads it off the shape that the file declares.
    """

    size_wh: tuple[int, int]
    resize: Literal["stretch", "letterbox"] = "stretch"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Literal["auto", "NHWC", "NCHW"] = "auto"

    def __post_init__(self) -> None:
        if min(self.size_wh) < 1 or min(self.std) <= 0:
            raise ConfigError(f"[input]: size_wh = {self.size_wh} and std = {self.std} must be positive")

    @property
    def is_raw(self) -> bool:
        """Whether the network gets pixels as they are."""
        return not any(self.mean) and set(self.std) == {1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class CardOutput:
    """How the network's answer becomes labels.

    Attributes:
        layout: of one answer: "HW" is an arg max map, "CHW" and "HWC" are logits; "auto" reads it off the shape.
        has_background: whether the network's class 0 is the background; if not, it is the second of the card's classes.
    """

    layout: Literal["auto", "HW", "CHW", "HWC"] = "auto"
    has_background: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class CardAugment:
    """Test-time augmentation, see `narrowcast.models.augmented`."""

    flip: bool = True
    scales: tuple[float, ...] = (1.0,)
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.25
    least_share: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherCard:
    """A file of weights and what is needed to use it as a teacher."""

    name: str
    weights: Path
    classes: tuple[str, ...]
    input: CardInput
    output: CardOutput = CardOutput()
    augment: CardAugment | None = None
    licence: str = "unknown"
    source: str = ""
    macs: float | None = None  # multiply-adds of one call, where they are published

    def __post_init__(self) -> None:
        check_classes(self.classes, where=f"the card '{self.name}'")

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> "PreparedImage":
        """`image_rgb` as the network takes it, and the way back for its labels."""
        return prepare(image_rgb, self.input)


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """Pixels for the network, and `restore`, which brings labels back to the image's own size.

    Attributes:
        pixels: normalised, or 8 bits where the card asks for raw pixels.
    """

    pixels: Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]
    restore: Callable[[UInt8[np.ndarray, "h w"]], UInt8[np.ndarray, "H W"]] = field(repr=False)


def prepare(image_rgb: UInt8[np.ndarray, "h w 3"], settings: CardInput) -> PreparedImage:
    """Resize and normalise as `settings` say; labels are brought back with nearest neighbours."""
    height, width = image_rgb.shape[:2]
    box_wh = _inner_size(width, height, settings)
    pixels = _canvas(settings)
    pixels[: box_wh[1], : box_wh[0]] = _normalise(resized(image_rgb, box_wh), settings)

    def restore(labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "H W"]:
        # a network may answer at a fraction of its input
        rows = max(1, round(box_wh[1] * labels.shape[0] / settings.size_wh[1]))
        columns = max(1, round(box_wh[0] * labels.shape[1] / settings.size_wh[0]))
        return cv2.resize(labels[:rows, :columns], (width, height), interpolation=cv2.INTER_NEAREST)

    return PreparedImage(pixels, restore)


def resized(image_rgb: UInt8[np.ndarray, "h w 3"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """The image at another size: averaged where it shrinks, bilinear where it grows, itself where it is that size."""
    height, width = image_rgb.shape[:2]
    if (width, height) == size_wh:
        return image_rgb
    shrinks = size_wh[0] * size_wh[1] < width * height
    return cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _inner_size(width: int, height: int, settings: CardInput) -> tuple[int, int]:
    if settings.resize == "stretch":
        return settings.size_wh
    scale = min(settings.size_wh[0] / width, settings.size_wh[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _canvas(settings: CardInput) -> np.ndarray:
    """The network's input before the image is put on it: padding is the mean, grey where the card does not say one."""
    shape = (settings.size_wh[1], settings.size_wh[0], 3)
    if settings.is_raw:
        return np.full(shape, GREY, np.uint8)
    padding = [0.0] * 3 if any(settings.mean) else [GREY / std for std in settings.std]
    return np.full(shape, padding, np.float32)


def _normalise(pixels: UInt8[np.ndarray, "h w 3"], settings: CardInput) -> np.ndarray:
    if settings.is_raw:
        return pixels
    return (pixels - np.array(settings.mean, np.float32)) / np.array(settings.std, np.float32)


def check_classes(classes: tuple[str, ...], *, where: str) -> None:
    """Nothing, where `classes` can be a teacher's: the background first, at least one more, no name twice.

    Raises:
        ConfigError: they cannot be; the message begins with `where`.
    """
    if not 2 <= len(classes) <= IGNORE:
        raise ConfigError(f"{where}: {len(classes)} classes; expected 2 to {IGNORE}, the background included")
    if classes[0] != BACKGROUND:
        raise ConfigError(f"{where}: the first class is '{classes[0]}'; expected '{BACKGROUND}'")
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise ConfigError(f"{where}: the class '{twice[0]}' is listed twice")


def read_card(path: Path) -> TeacherCard:
    """The card in `path`; `${NAME}` in its `weights` is an environment variable.

    A relative path of weights starts at the card's folder, one that begins with a variable at the current directory.

    Raises:
        ConfigError: the card is not TOML, lacks a key, has an unknown one or one out of its range.
        WeightsError: the weights that it names are not there.
    """
    raw = read_toml(path)
    for key in ("name", "weights", "classes", "input"):
        if key not in raw:
            raise ConfigError(f"{path}: a teacher card needs '{key}'")
    try:
        card = from_dict(TeacherCard, raw | _resolved(raw, path), where=str(path))
    except ConfigError as error:  # a range that a section checks for itself knows nothing of the file
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from None
    if not card.weights.is_file():
        raise WeightsError(
            f"{card.weights}: no such file; the teacher '{card.name}' of {path.name} needs it"
            " (set NARROWCAST_DATA, or use --teacher embedded, which needs no file)"
        )
    return card


def read_toml(path: Path, *, what: str = "teacher card") -> dict[str, Any]:
    """The tables of the card at `path`, which errors call `what`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such {what}") from None
    except OSError as error:
        raise ConfigError(f"{path}: the {what} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a {what}: {error}") from None


def _resolved(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    classes, weights = raw["classes"], raw["weights"]
    if not isinstance(weights, str):
        raise ConfigError(f"{path}: weights = {weights!r}: expected a path")
    if isinstance(classes, str) and classes not in TAXONOMIES:
        raise ConfigError(
            f"{path}: classes = '{classes}': expected a list of names or one of {', '.join(TAXONOMIES)}"
            + did_you_mean(classes, TAXONOMIES)
        )
    return {
        "weights": weights_path(weights, path),
        "classes": TAXONOMIES[classes] if isinstance(classes, str) else classes,
    }


def weights_path(text: str, card: Path) -> Path:
    """The file that a path in a card means: `${NAME}` is an environment variable, relative paths begin at the card."""

    def variable(match: re.Match[str]) -> str:
        value = os.environ.get(match[1]) or (str(DEFAULT_DATA) if match[1] == "NARROWCAST_DATA" else "")
        if not value:
            raise ConfigError(f"{card}: the environment variable {match[1]} is not set")
        return value

    start = Path.cwd() if text.startswith("${") else card.parent
    return start / Path(re.sub(r"\$\{(\w+)\}", variable, text)).expanduser()
