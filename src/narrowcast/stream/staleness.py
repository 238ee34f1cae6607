"""How far moved labels no longer fit the picture, without asking anybody: when the teacher should look again.

The frame that the teacher saw is moved along with its labels. Where it does not look like the present frame any more,
something has come that the labels know nothing of, or flow was wrong; a share of that is objects, and which share is
learned from what the teacher says. The thesis leaves this open (section 2.5); ours, see benchmarks/evaluation.py.
"""

from collections.abc import Mapping
from typing import Any, final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

DIFFERENT = 20  # grey levels between two pixels that do not show the same; ours, as all here
LEAST_AREA = 0.0005  # of the frame; less is noise, as for `DistillConfig.min_area`
MEMORY = 0.8  # of the running mean of the share
SHARE = (0.05, 2.0)  # bounds of the share
LEAST_ERROR = 0.02  # an error that is thought smaller says nothing of the share

_GRAIN = np.ones((3, 3), np.uint8)  # edges that are off by a pixel are thinner


@final
class Staleness:
    """The error of moved labels as it can be thought to be, frame by frame, and its sum since the teacher looked."""

    def __init__(self) -> None:
        self.error = self.total = 0.0
        self._share = 1.0
        self._changed = 0.0  # what `error` is a share of
        self._now: UInt8[np.ndarray, "h2 w2"] | None = None
        self._seen: UInt8[np.ndarray, "h2 w2"] | None = None

    def follow(
        self,
        image_rgb: UInt8[np.ndarray, "h w 3"],
        labels: UInt8[np.ndarray, "h w"] | None,
        origin_xy: Float32[np.ndarray, "h w 2"],
    ) -> None:
        """See the next frame, with the moved labels and where in the teacher's frame each pixel was."""
        self._now = small_grey(image_rgb)
        if self._seen is None or labels is None:
            return
        different = (cv2.absdiff(moved_grey(self._seen, origin_xy), self._now) > DIFFERENT).view(np.uint8)
        new = cv2.countNonZero(cv2.erode(different, _GRAIN)) / different.size
        things = np.count_nonzero(labels) / labels.size
        self._changed = float(new / (new + things + LEAST_AREA)) if new > LEAST_AREA else 0.0
        self.error = self._share * self._changed
        self.total += self.error

    def asked(self) -> tuple[UInt8[np.ndarray, "h2 w2"] | None, float]:
        """The present frame, for `restart`: to be kept until the teacher has answered. The sum begins anew."""
        self.total = 0.0
        return self._now, self._changed

    def restart(self, asked: tuple[UInt8[np.ndarray, "h2 w2"] | None, float], error: float | None) -> None:
        """Go on from the frame that was asked about.

        Args:
            error: one minus the accuracy of what was put out there; None: not known.
        """
        self._seen, changed = asked
        if error is not None:
            low, high = SHARE
            share = min(high, float(error) / max(changed, LEAST_ERROR))
            self._share = max(low, MEMORY * self._share + (1 - MEMORY) * share)
        self.error = self._changed = 0.0

    def forget(self) -> None:
        """The scene is gone; what share of changes are objects stays."""
        self._seen, self.error, self.total, self._changed = None, 0.0, 0.0, 0.0

    def tensors(self) -> dict[str, Tensor]:
        """Frames, for `load`."""
        held = {"now": self._now, "seen": self._seen}
        return {f"staleness.{name}": torch.from_numpy(value) for name, value in held.items() if value is not None}

    def state(self) -> dict[str, Any]:
        """Numbers, for `load`."""
        return {"error": self.error, "total": self.total, "share": self._share, "changed": self._changed}

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Bring back what `tensors` and `state` gave."""
        self.error, self.total = state["error"], state["total"]
        self._share, self._changed = state["share"], state["changed"]
        held = {
            name: tensors[f"staleness.{name}"].numpy() for name in ("now", "seen") if f"staleness.{name}" in tensors
        }
        self._now, self._seen = held.get("now"), held.get("seen")


def small_grey(image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2"]:
    """Grey at half the size (rounded up), a little blurred."""
    height, width = image_rgb.shape[:2]
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    half = cv2.resize(grey, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(half, (3, 3), 0).astype(np.uint8, copy=False)


def moved_grey(seen: UInt8[np.ndarray, "h2 w2"], origin_xy: Float32[np.ndarray, "h w 2"]) -> UInt8[np.ndarray, "h2 w2"]:
    """An earlier `small_grey`, as it lies in the frame whose pixels were at `origin_xy` in it."""
    from_xy = np.ascontiguousarray(origin_xy[::2, ::2]) / 2
    return cv2.remap(seen, from_xy, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
