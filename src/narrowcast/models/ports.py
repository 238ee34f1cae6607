"""What goes into and comes out of a file of weights: layouts, number types and arg max, the same for every runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Shaped, UInt8

from narrowcast.core.errors import ConfigError
from narrowcast.models.card import CardInput, PreparedImage, TeacherCard
from narrowcast.models.teacher import IGNORE

InputLayout = Literal["NHWC", "NCHW"]
OutputLayout = Literal["HW", "CHW", "HWC"]


class Fed(Protocol):
    """A card of any kind, as far as its input goes."""

    @property
    def name(self) -> str: ...
    @property
    def weights(self) -> Path: ...
    @property
    def input(self) -> CardInput: ...


def input_layout(shape: Sequence[object], card: Fed) -> InputLayout:
    """The layout of an input that the file declares as `shape`; sizes that are not integers are free.

    Raises:
        ConfigError: no layout can be read off, or the declared size is not the card's.
    """
    if len(shape) != 4:
        raise ConfigError(
            f"{card.weights}: its input has the shape {list(shape)}; expected one image of three channels"
        )
    layout = card.input.layout
    if layout == "auto":
        is_last, is_first = shape[3] == 3, shape[1] == 3
        if is_last == is_first:
            raise ConfigError(
                f"{card.weights}: its input has the shape {list(shape)}; say which it is in the card '{card.name}':"
                ' [input] layout = "NCHW" or "NHWC"'
            )
        layout = "NHWC" if is_last else "NCHW"
    height, width = shape[1:3] if layout == "NHWC" else shape[2:4]
    for declared, given in ((width, card.input.size_wh[0]), (height, card.input.size_wh[1])):
        if isinstance(declared, int) and declared > 0 and declared != given:
            raise ConfigError(
                f"{card.weights}: takes {width}×{height}; the card '{card.name}' says"
                f" size_wh = {list(card.input.size_wh)}"
            )
    return layout


def encode(
    prepared: PreparedImage,
    *,
    layout: InputLayout,
    dtype: np.dtype,
    scale: float = 0.0,
    zero_point: int = 0,
) -> Shaped[np.ndarray, "1 _ _ _"]:
    """The prepared pixels as a batch of one in the network's number type.

    Raw pixels go into 8-bit inputs as they are (shifted by 128 where the input is signed); normalised ones are
    quantised as round(x / `scale`) + `zero_point` where the input is made of integers.
    """
    pixels = prepared.pixels
    if dtype.kind in "iu" and pixels.dtype == np.uint8:
        pixels = pixels if dtype.kind == "u" else pixels.astype(np.int16) - 128
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        pixels = (np.round(pixels / (scale or 1.0)) + zero_point).clip(limits.min, limits.max)
    batch = pixels[None].astype(dtype, copy=False)
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if layout == "NCHW" else batch


def decode(answer: Shaped[np.ndarray, "..."], card: TeacherCard) -> UInt8[np.ndarray, "h w"]:
    """Labels from a network's answer to one image: an arg max map, or logits whose layout the card or the shape tells.

    Raises:
        ConfigError: the answer does not fit the card's classes or can be read in two ways.
    """
    one = answer[0] if answer.ndim > 2 and answer.shape[0] == 1 else answer
    layout = card.output.layout if card.output.layout != "auto" else _output_layout(one, card)
    if layout == "HW":
        labels = one.reshape([size for size in one.shape if size != 1] if one.ndim > 2 else one.shape)
    else:
        labels = torch.from_numpy(one).argmax(0 if layout == "CHW" else -1).numpy()
    if labels.ndim != 2:
        raise ConfigError(f"{card.weights}: answers with the shape {answer.shape}, which is not {layout} for one image")
    return _checked(labels, card)


def _output_layout(one: Shaped[np.ndarray, "..."], card: TeacherCard) -> OutputLayout:
    num = len(card.classes) - (not card.output.has_background)
    if one.ndim == 2 or (one.ndim == 3 and num > 1 and 1 in (one.shape[0], one.shape[-1])):
        return "HW"
    is_first, is_last = (one.ndim == 3 and one.shape[axis] == num for axis in (0, -1))
    if is_first != is_last:
        return "CHW" if is_first else "HWC"
    problem = "[output] layout must say which axis has" if is_first else "no axis has"
    raise ConfigError(
        f"{card.weights}: answers with the shape {one.shape}: {problem} the {num} classes of the card '{card.name}'"
    )


def _checked(labels: Shaped[np.ndarray, "h w"], card: TeacherCard) -> UInt8[np.ndarray, "h w"]:
    """`labels` as 8 bits, shifted by one where the network has no background; -1 and 255 stay unknown."""
    shift = 0 if card.output.has_background else 1
    if not shift and labels.min() >= 0 and labels.max() < len(card.classes):  # the common case, without copies
        return labels.astype(np.uint8)
    known = labels.astype(np.int64)  # a copy, floats included
    is_unknown = (known == -1) | (known == IGNORE)
    known += shift
    known[is_unknown] = IGNORE
    worst = known.max(where=~is_unknown, initial=0)
    if worst >= len(card.classes) or known.min(where=~is_unknown, initial=0) < 0:
        raise ConfigError(
            f"{card.weights}: gives label {worst - shift}, which none of the {len(card.classes)} classes"
            f" of the card '{card.name}' is for"
        )
    return known.astype(np.uint8)
