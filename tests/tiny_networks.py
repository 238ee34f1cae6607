"""Small real files for tests: networks whose label is the brightest channel of a pixel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

CLASSES = ("background", "green", "blue")  # the brightest of red, green and blue


def brightest(image_rgb: np.ndarray) -> np.ndarray:
    """What the tiny networks answer."""
    return image_rgb.argmax(-1).astype(np.uint8)


def noise(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_card(path: Path, weights: Path, *, size_wh: tuple[int, int], more: str = "") -> Path:
    path.write_text(
        f'name = "tiny"\nweights = "{weights}"\nclasses = {list(CLASSES)}\n[input]\nsize_wh = {list(size_wh)}\n{more}',
        encoding="utf-8",
    )
    return path


def write_onnx(
    path: Path,
    *,
    shape: Sequence[int | str],
    out_shape: Sequence[int | str],
    op: str = "Identity",
    axis: int = 0,
    elem_type: int = 1,
) -> Path:
    """An ONNX file with one node, written as the protocol buffer that it is, so that no test needs the onnx package.

    Args:
        op: "Identity" gives the input as logits, "ArgMax" along `axis` a map.
        elem_type: of the input, in ONNX's numbers: 1 float32, 2 uint8.
    """
    out_type = 7 if op == "ArgMax" else elem_type  # 7: int64
    keepdims = _field(5, _field(1, b"keepdims") + _number(3, 0) + _number(20, 2))
    attributes = _field(5, _field(1, b"axis") + _number(3, axis) + _number(20, 2)) + keepdims if op == "ArgMax" else b""
    node = _field(1, b"image") + _field(2, b"answer") + _field(4, op.encode()) + attributes
    graph = _field(1, node) + _field(2, b"tiny")
    graph += _field(11, _port("image", elem_type, shape)) + _field(12, _port("answer", out_type, out_shape))
    path.write_bytes(_number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13)))
    return path


def _port(name: str, elem_type: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(
        _field(1, _number(1, size) if isinstance(size, int) else _field(2, size.encode())) for size in shape
    )
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, elem_type) + _field(2, dims)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def write_tflite(
    path: Path, *, size_wh: tuple[int, int], dtype: str = "UINT8", scale: float = 0.0, zero_point: int = 0
) -> Path:
    """A LiteRT file with one ARG_MAX over the channels of an NHWC image."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    width, height = size_wh
    image = _tensor(schema, "image", [1, height, width, 3], dtype, buffer=0)
    if scale:
        image.quantization = schema.QuantizationParametersT()
        image.quantization.scale, image.quantization.zeroPoint = [scale], [zero_point]
    tensors = [
        image,
        _tensor(schema, "axis", [], "INT32", buffer=1),
        _tensor(schema, "answer", [1, height, width], "INT32", buffer=0),
    ]
    axis = schema.BufferT()
    axis.data = np.frombuffer(np.int32(3).tobytes(), np.uint8)
    code, node, graph, model = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ARG_MAX
    code.version = 2
    node.opcodeIndex, node.inputs, node.outputs = 0, [0, 1], [2]
    node.builtinOptionsType, node.builtinOptions = schema.BuiltinOptions.ArgMaxOptions, schema.ArgMaxOptionsT()
    node.builtinOptions.outputType = schema.TensorType.INT32
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [2], [node]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), axis]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _tensor(schema, name: str, shape: list[int], dtype: str, *, buffer: int):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, shape, buffer
    tensor.type = getattr(schema.TensorType, dtype)
    return tensor
