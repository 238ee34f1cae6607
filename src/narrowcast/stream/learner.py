"""A student and its optimiser: predicts a frame, learns a frame, and nothing else."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from narrowcast.core import checkpoint
from narrowcast.core.errors import ConfigError, DivergedError
from narrowcast.core.runtime import compute_dtype
from narrowcast.models.captured import Captured
from narrowcast.models.folded import Folded
from narrowcast.models.student import AnyStudent
from narrowcast.stream.decision import Labels, favour, leads, most_probable, upsample, winners
from narrowcast.stream.loss import pixel_loss

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnerConfig:
    """How a student learns; the defaults are ours (benchmarks/evaluation.py).

    Attributes:
        optimizer: "adam", or "sgd" with `momentum`. Momenta outlive a frame; the thesis does not say.
        learning_rate: for all layers.
        norm: batch norm while learning: "frozen" (statistics of pretraining, scales and shifts are learned) or "batch"
            (statistics of the frame: 10 and 12 points of mIoU worse on two cameras, 3 better on a third; recounted).
        own_share: factor on the student's logits, to which those of a prior are added.
        prior_share, background_share: logit of the class that the prior names for a pixel; less where it names the
            background, since what is new is background to it. 0: there is no prior.
        fresh_frames: a prior of labels that are n frames old, fewer than these, counts `fresh_frames` / n times as
            much: they have hardly moved yet, and little is new. 0 or 1: all ages alike.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 2e-3
    momentum: float = 0.9
    norm: Literal["frozen", "batch"] = "frozen"
    own_share: float = 0.3
    prior_share: float = 2.0
    background_share: float = 0.6
    fresh_frames: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate = {self.learning_rate}: must be positive and finite")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum = {self.momentum}: must be in [0, 1)")
        if not 0 < self.own_share < math.inf:
            raise ConfigError(f"own_share = {self.own_share}: must be positive and finite")
        for name in ("prior_share", "background_share", "fresh_frames"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} = {getattr(self, name)}: must not be negative, nor infinite")


@dataclass(frozen=True, slots=True)
class Sample:
    """What is learned from one teacher frame, at the student's size.

    `prior` is what was known of the frame before the teacher saw it; 255 where that was nothing.
    """

    image_rgb: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    weights: UInt8[np.ndarray, "h w"]
    prior: UInt8[np.ndarray, "h w"] | None = None


@final
class Learner:
    """`net` on its device, in bfloat16 where that pays and in channels_last; it predicts through a folded copy."""

    def __init__(self, net: nn.Module, config: LearnerConfig, *, device: torch.device) -> None:
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config, self.device, self.dtype = config, device, compute_dtype(device)
        self.net.eval()
        self._folded: Folded[nn.Module] | None = None
        self._is_folded_stale = True
        self._captured: Captured | None = None
        self._may_capture = device.type == "cuda"
        parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if config.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=config.learning_rate, momentum=config.momentum, fused=True)

    def predict(self, image_rgb: UInt8[np.ndarray, "h w 3"], prior: Labels | None = None, *, age: int = 0) -> Labels:
        """The most probable class of every pixel, by the image and by a prior: labels that are `age` frames old.

        An age of 0 is none, and counts as one that is not fresh.
        """
        with torch.inference_mode():
            return self._named(self._coarse_logits(image_rgb), image_rgb.shape[:2], prior, age)

    def predict_with(
        self, net: nn.Module, image_rgb: UInt8[np.ndarray, "h w 3"], prior: Labels | None, *, age: int = 0
    ) -> Labels:
        """The same by a copy of the network; it touches nothing that changes while the network learns."""
        with torch.inference_mode():
            with self._autocast():
                coarse = net.coarse_logits(self._to_input(image_rgb))  # type: ignore[operator]
            return self._named(coarse, image_rgb.shape[:2], prior, age)

    def _named(
        self, coarse: Float[Tensor, "1 k h2 w2"], size_hw: tuple[int, ...], prior: Labels | None, age: int
    ) -> Labels:
        """The most probable class of every pixel, by coarse logits and the prior."""
        config, ahead = self.config, leads(coarse, size_hw)
        if prior is not None and config.prior_share:
            trust = max(1.0, config.fresh_frames / age if age else 0) / config.own_share
            named, background = trust * config.prior_share, trust * config.background_share
            favour(ahead, torch.from_numpy(prior).to(self.device), named=named, background=background)
        return winners(ahead)

    def _coarse_logits(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 k h2 w2"]:
        net = self._predictor()
        if (graph := self._graph_of(net, image_rgb.shape[:2])) is not None:
            return graph(self._to_device(image_rgb))
        with self._autocast():
            return net.coarse_logits(self._to_input(image_rgb))  # type: ignore[operator]

    def _graph_of(self, net: nn.Module, size_hw: tuple[int, ...]) -> Captured | None:
        """The folded network as a CUDA graph for frames of this size; None where it cannot be one."""
        if self._folded is None or not self._may_capture:
            return None
        if self._captured is None or self._captured.size_hw != size_hw:
            self._captured = None  # its memory first
            try:
                self._captured = Captured(net, (size_hw[0], size_hw[1]), dtype=self.dtype, device=self.device)
            except RuntimeError as error:
                self._may_capture = False
                _LOGGER.warning("the student runs without a CUDA graph: %s", error)
        return self._captured

    def _evidence(self, prior: Labels | None, num_classes: int) -> Float[Tensor, "k h w"] | None:
        """The prior's logits, in units of the student's, for a loss over all of them."""
        if prior is None or not self.config.prior_share:
            return None
        classes = torch.arange(num_classes, dtype=torch.uint8, device=self.device)[:, None, None]
        named = (torch.from_numpy(prior).to(self.device) == classes).float()
        named[0].mul_(self.config.background_share / self.config.own_share)
        named[1:].mul_(self.config.prior_share / self.config.own_share)
        return named

    def _predictor(self) -> nn.Module:
        """The network as it is now, in the form that predicts fastest; networks that we do not know as they are."""
        if not isinstance(self.net, AnyStudent):
            return self.net.eval()
        if self._folded is None:
            self._folded = Folded(self.net, dtype=self.dtype)
        elif self._is_folded_stale:
            self._folded.refresh()
        self._is_folded_stale = False
        return self._folded.net

    def attempt(self, sample: Sample) -> "Attempt":
        """A forward pass on `sample` whose gradient can still be taken: look at its prediction, then step or not."""
        self.net.train(self.config.norm == "batch")
        image, labels, weights = self._to_tensors(sample)
        with torch.enable_grad():
            return Attempt(self._logits(image, sample.prior), labels, weights, self)

    def _logits(self, image: Float[Tensor, "1 3 h w"], prior: Labels | None) -> Float[Tensor, "1 k h w"]:
        """The student's logits at the image's size with those of the prior, as they are learned."""
        with self._autocast():
            coarse = self.net.coarse_logits(image)  # type: ignore[operator]
        # resizing interleaved planes takes three times as long
        logits = upsample(coarse.float().contiguous(), image.shape[-2:])
        evidence = self._evidence(prior, logits.shape[1])
        logits = logits if evidence is None else logits + evidence
        return logits if self.config.own_share == 1 else logits * self.config.own_share

    def loss(self, sample: Sample) -> float:
        """What the student, as it is when it predicts, still has to learn of `sample`; nothing changes."""
        self.net.eval()
        image, labels, weights = self._to_tensors(sample)
        with torch.no_grad():
            return float(pixel_loss(self._logits(image, sample.prior), labels, weights))

    def weights(self) -> dict[str, Tensor]:
        """A copy of all that the network has learned."""
        return {name: value.detach().clone() for name, value in self.net.state_dict().items()}

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with other weights of the same network; the optimiser's state stays."""
        self.net.load_state_dict(weights)
        self._is_folded_stale = True

    def descend(self, loss: Float[Tensor, ""]) -> None:
        """Take one step of the optimiser down `loss`."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._is_folded_stale = True

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser state."""
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        own = checkpoint.optimizer_tensors(self.optimizer)
        return tensors | {f"optimizer.{name}": value for name, value in own.items()}

    def load_state(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """Bring back what `state` gave."""
        parts = {"net": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, key = name.partition(".")
            if part in parts:
                parts[part][key] = value
        checkpoint.load_into(self.net, parts["net"], source=source)
        self._is_folded_stale = True
        checkpoint.load_optimizer(self.optimizer, self._laid_out(parts["optimizer"]))

    def _laid_out(self, momenta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Optimiser state in the memory order of its parameters: fused steps walk through both as they lie in memory.

        A file holds them in the plain order; channels_last parameters would be moved by each other's momenta.
        """
        parameters = self.optimizer.param_groups[0]["params"]
        owners = {name: parameters[int(name.partition(".")[0])] for name in momenta}
        return {
            name: torch.empty_like(owners[name]).copy_(value) if value.shape == owners[name].shape else value
            for name, value in momenta.items()
        }

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _to_input(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 h w"]:
        return self._to_device(image_rgb).to(self.dtype).mul_(1 / 255)

    def _to_device(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "1 3 h w"]:
        # a permuted view of h w 3 memory is channels_last already
        pixels = torch.from_numpy(np.ascontiguousarray(image_rgb)).to(self.device, non_blocking=True)
        return pixels.permute(2, 0, 1)[None]

    def _to_tensors(self, sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.from_numpy(sample.labels).to(self.device).long()[None]
        return self._to_input(sample.image_rgb), labels, torch.from_numpy(sample.weights).to(self.device).float()[None]


@final
@dataclass(frozen=True, slots=True)
class Attempt:
    """One forward pass: what the weights say now, and the step that would improve them."""

    logits: Float[Tensor, "1 k h w"]
    labels: Tensor
    weights: Tensor
    learner: Learner

    def prediction(self) -> Labels:
        """The most probable class of every pixel."""
        return most_probable(self.logits.detach(), self.logits.shape[-2:])

    def step(self) -> float:
        """Take the gradient step; the loss before it.

        Raises:
            DivergedError: the loss is not finite; the weights stay as they were.
        """
        loss = pixel_loss(self.logits, self.labels, self.weights)
        if not math.isfinite(value := loss.item()):
            raise DivergedError("the student's loss is not finite any more; try a lower learner.learning_rate")
        self.learner.descend(loss)
        return value


def shrink(image_rgb: UInt8[np.ndarray, "h w 3"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """A frame at the student's size."""
    if (image_rgb.shape[1], image_rgb.shape[0]) == size_wh:
        return image_rgb
    return cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA)
