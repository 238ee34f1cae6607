"""The last teacher frames, to be learned again: what a student forgets first is what it saw a minute ago."""

from collections import deque
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from narrowcast.stream.learner import Sample

PARTS = ("image_rgb", "labels", "weights", "prior")


@final
class Replay:
    """At most `size` samples, the oldest forgotten first; draws are uniform and seeded."""

    def __init__(self, size: int, *, seed: int) -> None:
        self._samples: deque[Sample] = deque(maxlen=size)
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: Sample) -> None:
        """Keep `sample`."""
        self._samples.append(sample)

    def draw(self) -> Sample:
        """One of the samples."""
        return self._samples[int(self._rng.integers(len(self._samples)))]

    def tensors(self) -> dict[str, Tensor]:
        """The samples as named tensors."""
        return {
            f"replay.{ix}.{part}": torch.from_numpy(np.ascontiguousarray(getattr(sample, part)))
            for ix, sample in enumerate(self._samples)
            for part in PARTS
            if getattr(sample, part) is not None
        }

    def state(self) -> dict[str, Any]:
        """The generator's state and the number of samples."""
        return {"num": len(self), "rng": self._rng.bit_generator.state}

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Bring back what `tensors` and `state` gave."""
        self._samples.clear()
        for ix in range(state["num"]):
            names = {part: f"replay.{ix}.{part}" for part in PARTS}
            self._samples.append(
                Sample(**{part: tensors[name].numpy() for part, name in names.items() if name in tensors})
            )
        self._rng.bit_generator.state = state["rng"]
