"""Teachers from LiteRT (`.tflite`) files that end in an arg max or in logits."""

from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import UInt8

from narrowcast.core.errors import ConfigError, DependencyError, WeightsError
from narrowcast.models import ports
from narrowcast.models.card import GREY, TeacherCard
from narrowcast.models.teacher import TeacherLabels


@final
class LiteRTTeacher:
    """A segmenter in a LiteRT file, run on the CPU with `num_threads`.

    It is asked once for a small grey image, so that a card that does not fit its file fails here and not in a stream.
    The runtime writes one line about its XNNPACK delegate to stderr: it offers no way to be quiet about that short of
    going without the delegate, which costs half as much time again.

    Raises:
        DependencyError: the LiteRT runtime is not installed.
        WeightsError: the file cannot be loaded.
        ConfigError: the card does not fit the file.
    """

    def __init__(self, card: TeacherCard, *, num_threads: int) -> None:
        self.card = card
        self.classes = card.classes
        self._interpreter = load_interpreter(card.weights, num_threads)
        self._input = self._interpreter.get_input_details()[0]
        self._output_ix = self._interpreter.get_output_details()[0]["index"]
        self._layout: ports.InputLayout = ports.input_layout([int(size) for size in self._input["shape"]], card)
        self(np.full((8, 8, 3), GREY, np.uint8))

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        prepared = self.card.prepare(image_rgb)
        scale, zero_point = self._input["quantization"]
        batch = ports.encode(
            prepared, layout=self._layout, dtype=np.dtype(self._input["dtype"]), scale=scale, zero_point=zero_point
        )
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        answer = self._interpreter.get_tensor(self._output_ix)
        return TeacherLabels(prepared.restore(ports.decode(answer, self.card)))


def load_interpreter(path: Path, num_threads: int) -> Any:
    """A LiteRT interpreter of the file, ready to run.

    Raises:
        ConfigError, DependencyError, WeightsError: it cannot be had.
    """
    if num_threads < 1:
        raise ConfigError(f"num_threads = {num_threads}: expected at least 1")
    try:
        from ai_edge_litert.interpreter import Interpreter  # an extra
    except ImportError:
        raise DependencyError(f"{path.name} needs the LiteRT runtime: pip install 'narrowcast[litert]'") from None
    try:
        interpreter = Interpreter(str(path), num_threads=num_threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a LiteRT model that can be run here ({error})") from error
    return interpreter
