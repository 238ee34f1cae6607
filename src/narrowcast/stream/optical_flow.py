"""Where each pixel of a frame was in the frame before: DIS (OpenCV), or RAFT (torchvision) where its weights are."""

from typing import Literal, Protocol, final

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torchvision.models import optical_flow

from narrowcast.models import hub_weights

MIN_FLOW_PX, MAX_ASPECT = 32, 8  # with less, or narrower, OpenCV's DIS reads beyond its pyramid and ends the process
FINEST_SCALE = 1  # of DIS: half the size; the preset ends at a quarter. Chosen on generated streams
RAFT_MULTIPLE, RAFT_LEAST = 8, 128  # pixels a side; torchvision's own limits


class OpticalFlow(Protocol):
    """A way to find motion."""

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w ..."]:
        """What `between` needs of a frame."""
        ...

    def between(
        self, here: UInt8[np.ndarray, "h w ..."], there: UInt8[np.ndarray, "h w ..."]
    ) -> Float32[np.ndarray, "h w 2"]:
        """For each pixel of `here` the way, in pixels, to its place in `there`."""
        ...


@final
class Dis:
    """DIS optical flow (OpenCV), its preset "ultrafast" one scale finer; or "fast", as it is.

    "fast" smooths the flow (variational refinement), which carries small things away: labels moved by it are worse, and
    dearer (docs/negative-results.md).
    """

    def __init__(self, preset: Literal["ultrafast", "fast"] = "ultrafast") -> None:
        if preset == "fast":
            self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        else:
            self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
            self._dis.setFinestScale(FINEST_SCALE)

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        """Grey."""
        return cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)

    def between(self, here: UInt8[np.ndarray, "h w"], there: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 2"]:
        """See `OpticalFlow`."""
        (height, width), longest = here.shape, max(here.shape)
        below, right = (max(0, MIN_FLOW_PX - side, longest // MAX_ASPECT - side) for side in (height, width))
        if below or right:
            here, there = (
                cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
                for image in (here, there)
            )
        return self._dis.calc(here, there, None)[:height, :width]  # type: ignore[call-overload]


@final
class Raft:
    """RAFT, the small one, with torchvision's weights: better and far dearer than DIS.

    Raises:
        WeightsError: the weights are not on this machine.
    """

    def __init__(self, device: torch.device) -> None:
        path = hub_weights.find_weights(
            optical_flow.Raft_Small_Weights.C_T_V2.url, offline="DIS flow (flow-dis), which needs no weights"
        )
        self._net, self._device = optical_flow.raft_small(weights=None), device
        hub_weights.load_weights(self._net, path)
        self._net.to(device).eval()

    def prepare(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The frame itself."""
        return image_rgb

    def between(
        self, here: UInt8[np.ndarray, "h w 3"], there: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        """See `OpticalFlow`."""
        height, width, _ = here.shape
        below, right = (-(-max(side, RAFT_LEAST) // RAFT_MULTIPLE) * RAFT_MULTIPLE - side for side in (height, width))
        pair = torch.from_numpy(np.stack([here, there])).to(self._device).permute(0, 3, 1, 2).float()
        pair = F.pad(pair / 127.5 - 1, (0, right, 0, below), mode="replicate")
        with torch.inference_mode():
            flow = self._net(pair[:1], pair[1:])[-1][0]
        return flow[:, :height, :width].permute(1, 2, 0).float().cpu().contiguous().numpy()
