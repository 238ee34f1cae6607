"""Labels that move with the picture: what the teacher said last, carried to the present frame by optical flow."""

from collections.abc import Mapping
from typing import final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from narrowcast.stream.optical_flow import Dis, OpticalFlow


@final
class MovedLabels:
    """Labels of one frame, followed through the frames after it with optical flow.

    For each pixel it keeps where in the labelled frame it came from, and moves that: the labels are read there once,
    with nearest neighbours. Moving the labels themselves would round their edges in every frame, and drift.

    Args:
        size_wh: of the frames and of the labels.
        flow: DIS where none is given.
    """

    def __init__(self, size_wh: tuple[int, int], flow: OpticalFlow | None = None) -> None:
        self.size_wh = size_wh
        self._flow = flow or Dis()
        columns, rows = np.meshgrid(np.arange(size_wh[0]), np.arange(size_wh[1]))
        self._here_xy: Float32[np.ndarray, "h w 2"] = np.dstack([columns, rows]).astype(np.float32)
        self._origin_xy = self._here_xy
        self._grey: UInt8[np.ndarray, "h w ..."] | None = None  # the last frame, as the flow takes it
        self._labels: UInt8[np.ndarray, "h w"] | None = None
        self.age = 0  # frames since the labelled one
        self._since_mark = 0
        self._marked_xy: Float32[np.ndarray, "h w 2"] | None = None  # as `_origin_xy`, from the frame that was marked

    @property
    def origin_xy(self) -> Float32[np.ndarray, "h w 2"]:
        """For each pixel of the frame that was followed last, where in the labelled frame it was."""
        return self._origin_xy

    def follow(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"] | None:
        """The labels as they lie in the next frame; None before there were any."""
        grey = self._flow.prepare(image_rgb)
        previous, self._grey = self._grey, grey
        self.age, self._since_mark = self.age + 1, self._since_mark + 1
        if self._labels is None and self._marked_xy is None:
            return None
        if previous is not None:
            from_xy = self._here_xy + self._flow.between(grey, previous)
            if self._labels is not None:
                self._origin_xy = _read(self._origin_xy, from_xy, cv2.INTER_LINEAR)
            if self._marked_xy is not None:
                self._marked_xy = _read(self._marked_xy, from_xy, cv2.INTER_LINEAR)
        return None if self._labels is None else _read(self._labels, self._origin_xy, cv2.INTER_NEAREST)

    def restart(self, labels: UInt8[np.ndarray, "h w"]) -> None:
        """Go on from `labels` of the frame that was followed last."""
        self._labels, self._origin_xy, self.age = labels, self._here_xy, 0

    def mark(self) -> None:
        """Remember the frame that was followed last: its labels will come later, in `adopt`."""
        self._marked_xy, self._since_mark = self._here_xy, 0

    def adopt(self, labels: UInt8[np.ndarray, "h w"]) -> None:
        """Go on from `labels` of the frame that was marked, as they lie in the frame that was followed last."""
        assert self._marked_xy is not None
        self._labels, self._origin_xy, self._marked_xy = labels, self._marked_xy, None
        self.age = self._since_mark

    def tensors(self) -> dict[str, Tensor]:
        """What `load` needs to go on exactly."""
        held = {"labels": self._labels, "grey": self._grey, "origin_xy": self._origin_xy}
        tensors = {f"moved.{name}": torch.from_numpy(value.copy()) for name, value in held.items() if value is not None}
        return tensors | {"moved.age": torch.tensor(self.age)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring back what `tensors` gave."""
        held = {name: tensors[f"moved.{name}"].numpy() for name in ("labels", "grey") if f"moved.{name}" in tensors}
        self._labels, self._grey = held.get("labels"), held.get("grey")
        self._origin_xy, self.age = tensors["moved.origin_xy"].numpy(), int(tensors["moved.age"])


def _read(values: np.ndarray, at_xy: np.ndarray, interpolation: int) -> np.ndarray:
    """`values` at other places; beyond the edge, those of the edge."""
    return cv2.remap(values, at_xy, None, interpolation, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
