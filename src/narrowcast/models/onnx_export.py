"""A student as an ONNX file with a card beside it, checked in ONNX Runtime before anybody relies on it."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from narrowcast.core.errors import ConfigError, DependencyError, WeightsError
from narrowcast.core.files import replacing, write_text
from narrowcast.models.onnx_teacher import load_session
from narrowcast.models.student import AnyStudent

INPUT, OUTPUT = "image", "logits"
MAX_DIFFERENCE = 1e-2  # of a logit; float32 kernels in another order differ by 1e-5 (measured); ours
MIN_SAME = 0.999  # of the labels; ours


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how it agrees with the student on seeded noise.

    Attributes:
        path: of the file.
        card: a teacher card for it, so that `--teacher` takes the file.
        max_difference: of a logit.
        same_labels: share of the pixels.
    """

    path: Path
    card: Path
    max_difference: float
    same_labels: float


def export_onnx(net: AnyStudent, path: Path, *, classes: Sequence[str], size_wh: tuple[int, int]) -> Exported:
    """Write `net` to `path`: "image" (1, 3, h, w) float32 RGB in [0, 1] to "logits" (1, classes, h, w).

    Raises:
        DependencyError: the packages of narrowcast[export] are missing.
        ConfigError: `path` does not end in .onnx.
        WeightsError: ONNX Runtime computes something else from the file; it is not kept then.
    """
    if path.suffix.lower() != ".onnx":
        raise ConfigError(f"{path}: an ONNX file ends in .onnx")
    net = net.cpu().float().eval()
    width, height = size_wh
    with replacing(path) as temporary:
        _write(net, temporary, torch.zeros(1, 3, height, width))
        difference, same = compare(net, temporary, size_wh)
        if difference > MAX_DIFFERENCE or same < MIN_SAME:
            raise WeightsError(
                f"{path}: ONNX Runtime does not compute what the student does: logits differ by {difference:.3g},"
                f" {same:.2%} of the labels are the same; nothing was written"
            )
    card = path.with_suffix(".toml")
    write_text(card, card_text(path, classes, size_wh))
    return Exported(path, card, difference, same)


def compare(net: nn.Module, path: Path, size_wh: tuple[int, int]) -> tuple[float, float]:
    """The largest difference of a logit and the share of equal labels on one image of seeded noise."""
    width, height = size_wh
    image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    with torch.inference_mode():
        ours = net(torch.from_numpy(image)).numpy()
    theirs = load_session(path, 1, torch.device("cpu")).run([OUTPUT], {INPUT: image})[0]
    return float(np.abs(ours - theirs).max()), float(np.mean(ours.argmax(1) == theirs.argmax(1)))


def card_text(path: Path, classes: Sequence[str], size_wh: tuple[int, int]) -> str:
    """A teacher card for the file, which stands beside it."""
    names = ", ".join("'{}'".format(name.replace("'", " ")) for name in classes)
    return f"""# Written by narrowcast stream export.
name = '{path.stem}'
weights = '{path.name}'
classes = [{names}]

[input]
size_wh = [{size_wh[0]}, {size_wh[1]}]
std = [255.0, 255.0, 255.0]
layout = 'NCHW'
"""


def _write(net: nn.Module, path: Path, images: torch.Tensor) -> None:
    try:
        import onnxscript  # noqa: F401 - an extra, which torch's exporter needs
    except ImportError:
        raise DependencyError("exporting to ONNX needs onnxscript: pip install 'narrowcast[export]'") from None
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries below torch's exporter, which are not ours
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                net,
                (images,),
                path,
                dynamo=True,
                external_data=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
