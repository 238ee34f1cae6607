"""The teacher that needs no other file: its weights ship with the package."""

from importlib import resources
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import UInt8

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError
from narrowcast.models import pixels
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.taxonomy import VOC
from narrowcast.models.teacher import TeacherLabels

SHIPPED = "weights/embedded-teacher.safetensors"  # within the package, float16
MULTIPLE = 32  # of each side; what the encoder was trained on


@final
class EmbeddedTeacher:
    """`LiteSegmenter` with the weights that ship inside (VOC's 21 classes), or with those in `weights`.

    Args:
        max_side: the longest side that the network sees, in pixels; smaller images are enlarged to it.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit.
        ConfigError: `max_side` is less than 32.
    """

    classes = VOC

    def __init__(self, *, device: torch.device, max_side: int = 640, weights: Path | None = None) -> None:
        if max_side < MULTIPLE:
            raise ConfigError(f"--max-side {max_side}: expected at least {MULTIPLE} pixels")
        network = LiteSegmenter(len(VOC))
        with resources.as_file(resources.files("narrowcast") / SHIPPED) as shipped:
            path = weights or shipped
            tensors, _ = checkpoint.load(path)
            checkpoint.load_into(network, tensors, source=str(path))
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device, self._max_side = device, max_side

    @torch.inference_mode()
    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        height, width = image_rgb.shape[:2]
        size_wh = pixels.scaled_size((width, height), self._max_side / max(height, width), multiple=MULTIPLE)
        images = pixels.to_images(image_rgb, size_wh, self._device)
        with pixels.reduced_precision(self._device):
            logits = self._network.coarse_logits(images)
        return TeacherLabels(pixels.labels_at(logits[0], (height, width)))
