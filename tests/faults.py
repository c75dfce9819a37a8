"""Artifacts of the tiny model with one number changed, as a converter with a fault would write them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeds.spec import Array, Format
from edgeds.twin.pte_file import PteFile

# The layer that each fault is planted in: what it is in the report, and the scale and zero point of its output in the graph.
CHANNEL = 3
RATIO = 1.25  # of a scale
SHIFT = 20  # of a zero point
REAL_BIAS = 1.2  # added to a bias

# scale, zero point: those of the tap
Fault = Callable[[Path, Path, float, int], None]


def _scale_in_tflite(source: Path, target: Path, scale: float, zero_point: int) -> None:
    def change(model: Any) -> None:
        _tensor(model, scale).quantization.scale = np.array([scale * RATIO], np.float32)

    _tflite(source, target, change)


def _zero_point_in_tflite(source: Path, target: Path, scale: float, zero_point: int) -> None:
    def change(model: Any) -> None:
        _tensor(model, scale).quantization.zeroPoint = np.array([zero_point + SHIFT], np.int64)

    _tflite(source, target, change)


def _weights_in_tflite(source: Path, target: Path, scale: float, zero_point: int) -> None:
    def change(model: Any) -> None:
        weights = _constant(model, _producer(model, scale).inputs[1], np.int8)
        weights.reshape(_output_channels(model, scale), -1)[CHANNEL] *= -1
        _store(model, _producer(model, scale).inputs[1], weights)

    _tflite(source, target, change)


def _bias_in_tflite(source: Path, target: Path, scale: float, zero_point: int) -> None:
    def change(model: Any) -> None:
        index = _producer(model, scale).inputs[2]
        bias = _constant(model, index, np.int32)
        step = model.subgraphs[0].tensors[index].quantization.scale[CHANNEL]
        bias[CHANNEL] += round(REAL_BIAS / step)
        _store(model, index, bias)

    _tflite(source, target, change)


def _padding_in_tflite(source: Path, target: Path, scale: float, zero_point: int) -> None:
    """In place of SAME all of it above and left, by an operator of its own."""
    from ai_edge_litert import schema_py_generated as schema

    def change(model: Any) -> None:
        graph, layer = model.subgraphs[0], _producer(model, scale)
        given = graph.tensors[layer.inputs[0]]
        sides, padded = schema.TensorT(), schema.TensorT()
        sides.name, sides.type, sides.shape, sides.buffer = (
            b"sides",
            schema.TensorType.INT32,
            [4, 2],
            len(model.buffers),
        )
        padded.name, padded.type, padded.quantization, padded.buffer = b"padded", given.type, given.quantization, 0
        padded.shape = [1, given.shape[1] + 2, given.shape[2] + 2, given.shape[3]]
        content = schema.BufferT()
        content.data = np.frombuffer(np.array([[0, 0], [2, 0], [2, 0], [0, 0]], np.int32).tobytes(), np.uint8)
        model.buffers.append(content)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.PAD
        code.version = 1
        model.operatorCodes.append(code)
        pad = schema.OperatorT()
        pad.opcodeIndex, pad.inputs = len(model.operatorCodes) - 1, [layer.inputs[0], len(graph.tensors)]
        pad.outputs = [len(graph.tensors) + 1]
        graph.tensors += [sides, padded]
        layer.inputs = [len(graph.tensors) - 1, *layer.inputs[1:]]
        layer.builtinOptions.padding = schema.Padding.VALID
        graph.operators.insert(graph.operators.index(layer), pad)

    _tflite(source, target, change)


def _tflite(source: Path, target: Path, change: Callable[[Any], None]) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))


def _index(model: Any, scale: float) -> int:
    """The last tensor with this scale: two layers with ReLU6 have the same."""
    *_, found = (
        k
        for k, tensor in enumerate(model.subgraphs[0].tensors)
        if tensor.quantization.scale is not None and list(tensor.quantization.scale) == [np.float32(scale)]
    )
    return found


def _tensor(model: Any, scale: float) -> Any:
    return model.subgraphs[0].tensors[_index(model, scale)]


def _producer(model: Any, scale: float) -> Any:
    index = _index(model, scale)
    return next(operator for operator in model.subgraphs[0].operators if index in operator.outputs)


def _output_channels(model: Any, scale: float) -> int:
    return int(_tensor(model, scale).shape[-1])


def _constant(model: Any, index: int, kind: type) -> Array:
    buffer = model.buffers[model.subgraphs[0].tensors[index].buffer]
    return np.frombuffer(bytes(buffer.data), kind).copy()


def _store(model: Any, index: int, values: Array) -> None:
    buffer = model.buffers[model.subgraphs[0].tensors[index].buffer]
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)


def _scale_in_onnx(source: Path, target: Path, scale: float, zero_point: int) -> None:
    def change(model: Any) -> None:
        name = _quantize(model, scale).input[1]
        _replace(model, name, np.array(scale * RATIO, np.float32))

    _onnx(source, target, change)


def _zero_point_in_onnx(source: Path, target: Path, scale: float, zero_point: int) -> None:
    def change(model: Any) -> None:
        name = _quantize(model, scale).input[2]
        _replace(model, name, np.array(zero_point + 128 + SHIFT, np.uint8))

    _onnx(source, target, change)


def _weights_in_onnx(source: Path, target: Path, scale: float, zero_point: int) -> None:
    from onnx import numpy_helper

    def change(model: Any) -> None:
        dequantized = _layer(model, scale).input[1]
        name = next(node for node in model.graph.node if dequantized in node.output).input[0]
        weights = numpy_helper.to_array(_initializer(model, name)).copy()
        weights[CHANNEL] *= -1
        _replace(model, name, weights)

    _onnx(source, target, change)


def _bias_in_onnx(source: Path, target: Path, scale: float, zero_point: int) -> None:
    from onnx import numpy_helper

    def change(model: Any) -> None:
        name = _layer(model, scale).input[2]
        bias = numpy_helper.to_array(_initializer(model, name)).copy()
        bias[CHANNEL] += REAL_BIAS
        _replace(model, name, bias)

    _onnx(source, target, change)


def _padding_in_onnx(source: Path, target: Path, scale: float, zero_point: int) -> None:
    def change(model: Any) -> None:
        (pads,) = (attribute for attribute in _layer(model, scale).attribute if attribute.name == "pads")
        pads.ints[:] = [2, 2, 0, 0]

    _onnx(source, target, change)


def _onnx(source: Path, target: Path, change: Callable[[Any], None]) -> None:
    import onnx

    model = onnx.load(source)
    change(model)
    onnx.save(model, target)


def _quantize(model: Any, scale: float) -> Any:
    """The last quantize node with this scale."""
    from onnx import numpy_helper

    *_, found = (
        node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
        and numpy_helper.to_array(_initializer(model, node.input[1])).reshape(-1)[0] == np.float32(scale)
    )
    return found


def _layer(model: Any, scale: float) -> Any:
    name = _quantize(model, scale).input[0]
    return next(node for node in model.graph.node if name in node.output)


def _initializer(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _replace(model: Any, name: str, values: Array) -> None:
    from onnx import numpy_helper

    _initializer(model, name).CopyFrom(numpy_helper.from_array(values, name))


def _scale_in_pte(source: Path, target: Path, scale: float, zero_point: int) -> None:
    _patch(source, target, struct.pack("<f", scale), struct.pack("<f", scale * RATIO))


def _zero_point_in_pte(source: Path, target: Path, scale: float, zero_point: int) -> None:
    """It stands behind its scale."""
    _patch(source, target, struct.pack("<fi", scale, zero_point), struct.pack("<fi", scale, zero_point + SHIFT))


def _weights_in_pte(source: Path, target: Path, scale: float, zero_point: int) -> None:
    file = PteFile(source)
    weights = file.required(_node(file, scale).fields["filter_id"])
    changed = weights.copy()
    changed[CHANNEL] *= -1
    _patch(source, target, weights.tobytes(), changed.tobytes())


def _bias_in_pte(source: Path, target: Path, scale: float, zero_point: int) -> None:
    file = PteFile(source)
    fields = _node(file, scale).fields
    bias = file.required(fields["bias_id"])
    step = file.weight_scales(fields["filter_id"])[CHANNEL] * file.quantization(fields["input1_id"]).scale
    changed = bias.copy()
    changed[CHANNEL] += round(REAL_BIAS / step)
    _patch(source, target, bias.tobytes(), changed.tobytes())


def _node(file: PteFile, scale: float) -> Any:
    return next(
        node
        for node in file.nodes
        if file.value(node.output).quantization and file.quantization(node.output).scale == scale
    )


def _patch(source: Path, target: Path, old: bytes, new: bytes) -> None:
    content = source.read_bytes()
    assert content.count(old) == 1
    target.write_bytes(content.replace(old, new))


FAULTS: dict[tuple[Format, str], Fault] = {
    (Format.TFLITE, "scale"): _scale_in_tflite,
    (Format.TFLITE, "zero point"): _zero_point_in_tflite,
    (Format.TFLITE, "weights"): _weights_in_tflite,
    (Format.TFLITE, "bias"): _bias_in_tflite,
    (Format.TFLITE, "padding"): _padding_in_tflite,
    (Format.ONNX, "scale"): _scale_in_onnx,
    (Format.ONNX, "zero point"): _zero_point_in_onnx,
    (Format.ONNX, "weights"): _weights_in_onnx,
    (Format.ONNX, "bias"): _bias_in_onnx,
    (Format.ONNX, "padding"): _padding_in_onnx,
    (Format.EXECUTORCH, "scale"): _scale_in_pte,
    (Format.EXECUTORCH, "zero point"): _zero_point_in_pte,
    (Format.EXECUTORCH, "weights"): _weights_in_pte,
    (Format.EXECUTORCH, "bias"): _bias_in_pte,
}
