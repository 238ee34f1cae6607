"""Teachers from ONNX files that end in an arg max or in logits."""

from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8

from narrowcast.core.errors import ConfigError, DependencyError, WeightsError
from narrowcast.models import ports
from narrowcast.models.card import GREY, TeacherCard
from narrowcast.models.teacher import TeacherLabels

DTYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
}
QUIET = 3  # ONNX Runtime's severity "error"


@final
class OnnxTeacher:
    """A segmenter in an ONNX file with one image input; its first output is read.

    Runs on CUDA where `device` says so and the installed ONNX Runtime can, otherwise on the CPU with `num_threads`.
    It is asked once for a small grey image, so that a card that does not fit its file fails here and not in a stream.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        WeightsError: the file cannot be loaded.
        ConfigError: the card does not fit the file.
    """

    def __init__(self, card: TeacherCard, *, num_threads: int, device: torch.device | None = None) -> None:
        self.card = card
        self.classes = card.classes
        self._session = load_session(card.weights, num_threads, device or torch.device("cpu"))
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in DTYPES:
            described = ", ".join(f"{port.name} {port.type}" for port in inputs)
            raise ConfigError(f"{card.weights}: takes {described}; expected one image of floats or 8-bit integers")
        self._input, self._output = inputs[0].name, self._session.get_outputs()[0].name
        self._dtype = DTYPES[inputs[0].type]
        self._layout: ports.InputLayout = ports.input_layout(inputs[0].shape, card)
        self(np.full((8, 8, 3), GREY, np.uint8))

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        prepared = self.card.prepare(image_rgb)
        batch = ports.encode(prepared, layout=self._layout, dtype=self._dtype)
        answer = self._session.run([self._output], {self._input: batch})[0]
        return TeacherLabels(prepared.restore(ports.decode(answer, self.card)))


def load_session(path: Path, num_threads: int, device: torch.device) -> Any:
    """An ONNX Runtime session of the file.

    Raises:
        ConfigError, DependencyError, WeightsError: it cannot be had.
    """
    if num_threads < 1:
        raise ConfigError(f"num_threads = {num_threads}: expected at least 1")
    try:
        import onnxruntime  # an extra
    except ImportError:
        raise DependencyError(f"{path.name} needs ONNX Runtime: pip install 'narrowcast[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = num_threads, QUIET
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()] + ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors share no base class below Exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path}: not an ONNX model that can be run here ({reason})") from error
