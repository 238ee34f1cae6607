"""Labels that wait until the teacher has looked again: a frame between two of its frames hears both.

Recorded video need not be labelled at once. The teacher's next labels are moved back, frame by frame, as those before
were moved on; where the two disagree, those are taken whose teacher frame, moved along, looks more like the frame
between. What has come into view is in the later one, what has left in the earlier, and nobody is further than half the
way from a teacher frame. One more optical flow a frame, no teacher frame more. Ours, see benchmarks/evaluation.py.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from narrowcast.core.frames import IGNORE
from narrowcast.stream.moved_labels import MovedLabels
from narrowcast.stream.optical_flow import OpticalFlow
from narrowcast.stream.staleness import moved_grey, small_grey

WINDOW = (
    3  # pixels of half the size over which a misfit is averaged; chosen on generated streams and carphone, as 5 and 7
)
MOST_MISFIT = 60  # grey levels; more is not more wrong

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    item: Item
    image_rgb: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    misfit: Float32[np.ndarray, "h2 w2"] | None  # None: of labels that come from nowhere; the later ones are right


@final
class LookAhead(Generic[Item]):
    """Frames that wait for the teacher.

    Args:
        num_frames: that wait at most; longer stretches give up their first frames as they are.
        flow: DIS where none is given.
    """

    def __init__(self, num_frames: int, flow: OpticalFlow | None = None) -> None:
        self._num_frames, self._flow = num_frames, flow
        self._waiting: deque[_Waiting[Item]] = deque()
        self._seen: UInt8[np.ndarray, "h2 w2"] | None = None  # the last teacher frame

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(
        self,
        item: Item,
        image_rgb: UInt8[np.ndarray, "h w 3"],
        labels: UInt8[np.ndarray, "h w"],
        origin_xy: Float32[np.ndarray, "h w 2"],
    ) -> list[Item]:
        """Keep a frame between two teacher frames; those that have waited too long come back.

        Args:
            item: what `close` or `rest` give back.
            labels: as they are without what is to come.
            origin_xy: for each pixel, where it was in the last teacher frame.
        """
        misfit = None if self._seen is None else _misfit(self._seen, small_grey(image_rgb), origin_xy)
        self._waiting.append(_Waiting(item, image_rgb, labels, misfit))
        return [self._waiting.popleft().item] if len(self._waiting) > self._num_frames else []

    def close(
        self, image_rgb: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
    ) -> list[tuple[Item, UInt8[np.ndarray, "h w"]]]:
        """All that waited, in order, with their labels, now that the teacher has labelled the frame after them."""
        self._seen = small_grey(image_rgb)
        if not self._waiting:
            return []
        moved = MovedLabels((image_rgb.shape[1], image_rgb.shape[0]), self._flow)
        moved.follow(image_rgb)
        moved.restart(labels)
        closed = []
        for one in reversed(self._waiting):
            later = moved.follow(one.image_rgb)
            assert later is not None
            closed.append((one.item, self._chosen(one, later, moved.origin_xy)))
        self._waiting.clear()
        return closed[::-1]

    def _chosen(
        self, one: _Waiting[Item], later: UInt8[np.ndarray, "h w"], origin_xy: Float32[np.ndarray, "h w 2"]
    ) -> UInt8[np.ndarray, "h w"]:
        is_known = later != IGNORE
        if one.misfit is None:
            return np.where(is_known, later, one.labels)
        assert self._seen is not None
        fits = (_misfit(self._seen, small_grey(one.image_rgb), origin_xy) < one.misfit).view(np.uint8)
        height, width = later.shape
        fits = cv2.resize(fits, (width, height), interpolation=cv2.INTER_NEAREST).view(np.bool_)
        return np.where(fits & is_known, later, one.labels)

    def rest(self) -> list[Item]:
        """All that waited, as they are: no labels will come that say anything of them."""
        items = [one.item for one in self._waiting]
        self._waiting.clear()
        return items

    def forget(self) -> None:
        """The next frames show another scene than the last teacher frame."""
        self._seen = None

    def tensors(self) -> dict[str, Tensor]:
        """For `load`, when nothing waits."""
        return {} if self._seen is None else {"look_ahead.seen": torch.from_numpy(self._seen)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring back what `tensors` gave."""
        self._seen = tensors["look_ahead.seen"].numpy() if "look_ahead.seen" in tensors else None


def _misfit(
    seen: UInt8[np.ndarray, "h2 w2"], now: UInt8[np.ndarray, "h2 w2"], origin_xy: Float32[np.ndarray, "h w 2"]
) -> Float32[np.ndarray, "h2 w2"]:
    """How little `seen`, moved along, looks like `now`, in grey levels."""
    different = np.minimum(cv2.absdiff(moved_grey(seen, origin_xy), now), np.uint8(MOST_MISFIT))
    return cv2.blur(different.astype(np.float32), (WINDOW, WINDOW)).astype(np.float32, copy=False)
