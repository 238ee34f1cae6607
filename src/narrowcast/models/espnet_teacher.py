"""ESPNetv2 as a teacher for scenes of streets: Cityscapes' 19 classes, from a file of weights that a user has."""

from contextlib import nullcontext
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import UInt8

from narrowcast.core.errors import ConfigError
from narrowcast.models import hub_weights, pixels
from narrowcast.models.espnet import ESPNetV2
from narrowcast.models.taxonomy import CITYSCAPES
from narrowcast.models.teacher import TeacherLabels

MAX_SIDE, ASPECT, MULTIPLE = 1024, 2, 32  # pixels: the published weights are of 1024×512, to which images are stretched
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUM_LOGITS = 20  # Cityscapes' 19 classes, then what is none of them, which is never the answer


@final
class EspnetTeacher:
    """ESPNetv2 (s = 2.0); every pixel gets one of the 19 classes, since it knows no background.

    Args:
        weights: the state dict `espnetv2_s_2.0_city_1024x512.pth`; read as tensors only.
        max_side: width at which the network sees an image; its height is half of that, whatever the image's shape is.

    Raises:
        WeightsError: the file is missing, damaged or does not fit.
        ConfigError: `max_side` is less than 64.
    """

    classes = CITYSCAPES
    runs_in_torch = True

    def __init__(self, weights: Path, *, device: torch.device, max_side: int = MAX_SIDE) -> None:
        if max_side < ASPECT * MULTIPLE:
            raise ConfigError(f"teacher.max_side = {max_side}: expected at least {ASPECT * MULTIPLE} pixels")
        network = ESPNetV2(NUM_LOGITS)
        hub_weights.load_weights(network, weights)
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._size_wh = pixels.scaled_size((max_side, max_side // ASPECT), 1.0, multiple=MULTIPLE)
        self._mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=device).view(3, 1, 1)
        self._device = device

    @torch.inference_mode()
    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        images = pixels.to_images(image_rgb, self._size_wh, self._device)
        on_cuda = self._device.type == "cuda"
        with pixels.reduced_precision(self._device) if on_cuda else nullcontext():
            logits = self._network((images - self._mean) / self._std)
        height, width = image_rgb.shape[:2]
        return TeacherLabels(pixels.labels_at(logits[0, : NUM_LOGITS - 1], (height, width)) + np.uint8(1))
