"""The teacher that needs no other file: its weights ship with the package."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError
from narrowcast.core.runtime import compute_dtype
from narrowcast.models import pixels
from narrowcast.models.folded import Folded
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.taxonomy import VOC
from narrowcast.models.teacher import TeacherLabels

SHIPPED = "weights/embedded-teacher.safetensors"  # within the package, float16
MULTIPLE = 32  # of each side; what the encoder was trained on
VIEWS = (0.4, 0.6, 1.0)  # ours: 256, 384 and 640 pixels, for objects that fill the frame and small ones


@contextmanager
def shipped_weights(weights: Path | None = None) -> Iterator[Path]:
    """The file of weights that ships inside, or the one that is given, while the block runs."""
    with resources.as_file(resources.files("narrowcast") / SHIPPED) as shipped:
        yield weights or shipped


@final
class EmbeddedTeacher:
    """`LiteSegmenter` with the weights that ship inside (VOC's 21 classes), or with those in `weights`.

    Args:
        max_side: the longest side that the network sees, in pixels; smaller images are enlarged to it.
        views: shares of `max_side` at which the image is seen, mirrored too where there is more than one; the
            probabilities are averaged. `VIEWS` makes a better teacher at six calls' cost.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit.
        ConfigError: `max_side` is less than 32.
    """

    classes = VOC
    runs_in_torch = True

    def __init__(
        self,
        *,
        device: torch.device,
        max_side: int = 640,
        views: tuple[float, ...] = (1.0,),
        weights: Path | None = None,
    ) -> None:
        if max_side < MULTIPLE:
            raise ConfigError(f"teacher.max_side = {max_side}: expected at least {MULTIPLE} pixels")
        network = LiteSegmenter(len(VOC))
        with shipped_weights(weights) as path:
            tensors, _ = checkpoint.load(path)
            checkpoint.load_into(network, tensors, source=str(path))
        network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = Folded(network, dtype=compute_dtype(device)).net
        self._device, self._max_side, self._views = device, max_side, views

    @torch.inference_mode()
    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        if len(self._views) == 1:
            return TeacherLabels(pixels.labels_at(self._logits(image_rgb, self._views[0])[0], size_hw))
        votes = [self._probabilities(image_rgb, view) for view in self._views]
        finest = max(votes, key=lambda planes: planes.shape[-1]).shape[-2:]
        mean = sum(F.interpolate(planes, size=finest, mode="bilinear", align_corners=False) for planes in votes)
        assert isinstance(mean, Tensor)
        return TeacherLabels(pixels.labels_at(mean[0], size_hw))

    @torch.inference_mode()
    def answer_all(self, images_rgb: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[TeacherLabels]:
        """Labels of images of one size, in one call of the network where one view is asked for."""
        if len(self._views) > 1 or len(images_rgb) < 2:
            return [self(image_rgb) for image_rgb in images_rgb]
        height, width = images_rgb[0].shape[:2]
        size_wh = pixels.scaled_size((width, height), self._max_side / max(height, width), multiple=MULTIPLE)
        images = torch.cat([pixels.to_images(image_rgb, size_wh, self._device) for image_rgb in images_rgb])
        with pixels.reduced_precision(self._device):
            logits = self._network.coarse_logits(images)
        return [TeacherLabels(pixels.labels_at(planes, (height, width))) for planes in logits]

    def _logits(self, image_rgb: UInt8[np.ndarray, "h w 3"], view: float) -> Float[Tensor, "n k h2 w2"]:
        """Logits of the image at one size, and of its mirror image where several views are asked for."""
        height, width = image_rgb.shape[:2]
        scale = view * self._max_side / max(height, width)
        images = pixels.to_images(
            image_rgb, pixels.scaled_size((width, height), scale, multiple=MULTIPLE), self._device
        )
        if len(self._views) > 1:
            images = torch.cat([images, images.flip(-1)])
        with pixels.reduced_precision(self._device):
            return self._network.coarse_logits(images)

    def _probabilities(self, image_rgb: UInt8[np.ndarray, "h w 3"], view: float) -> Float[Tensor, "1 k h2 w2"]:
        straight, mirrored = self._logits(image_rgb, view).float().softmax(1)
        return ((straight + mirrored.flip(-1)) / 2)[None]
