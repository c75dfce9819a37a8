"""Functions of the quantized model in the form that suits ONNX Runtime: the same int8 tensors around them, other operators inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgeds.export.onnx_rewrites import constant
from edgeds.spec import Array

if TYPE_CHECKING:
    import onnx


def tanh_as_sigmoid(model: onnx.ModelProto) -> None:
    """Between int8 tensors tanh(x) = 2 · sigmoid(2 x) - 1 is a sigmoid whose ends are read with other scales: nothing is computed for 2 and 1.

    ONNX Runtime looks sigmoid up in a table of 256 values, and has tanh in float only: 145 µs against 241 µs for 64x56x56.
    """
    for before, tanh, after in _between_quantization(model, {"Tanh"}):
        scale, zero_point = (constant(model, after.input[k]) for k in (1, 2))
        half = constant(model, before.input[1])
        if scale is None or zero_point is None or half is None or not np.isclose(scale, 1 / 128, rtol=1e-6):
            continue
        lowest = np.iinfo(zero_point.dtype).min
        if int(zero_point) != lowest + 128:
            continue
        doubled = _number(model, f"{tanh.name}_input_scale", (2 * half).astype(np.float32))
        reader = type(before)()
        reader.CopyFrom(before)
        reader.name, reader.input[1], reader.output[0] = f"{tanh.name}_input", doubled, f"{tanh.input[0]}_doubled"
        place = next(k for k, node in enumerate(model.graph.node) if node.output[0] == tanh.output[0])
        tanh.op_type, tanh.input[0] = "Sigmoid", reader.output[0]
        model.graph.node.insert(place, reader)
        after.input[1] = _number(model, f"{tanh.name}_scale", np.array(1 / 256, np.float32))
        after.input[2] = _number(model, f"{tanh.name}_zero_point", np.array(lowest, zero_point.dtype))


def integer_clip(model: onnx.ModelProto) -> None:
    """A Relu or Clip whose input and output are integers of one scale becomes a Clip of integers: 32 µs against 150 µs for 64x56x56."""
    for before, clamp, after in _between_quantization(model, {"Relu", "Clip"}):
        if list(before.input[1:]) != list(after.input[1:]) and not _same(model, before, after):
            continue
        scale, zero_point = (constant(model, after.input[k]) for k in (1, 2))
        bounds = _bounds(model, clamp)
        if scale is None or zero_point is None or bounds is None:
            continue
        limits = np.iinfo(zero_point.dtype)
        steps = np.rint(np.array(bounds, np.float32) / scale)  # in float32, as ONNX Runtime quantizes
        quantized = np.clip(steps + int(zero_point), limits.min, limits.max)
        names = [
            _number(model, f"{clamp.name}_{end}", value.astype(zero_point.dtype))
            for end, value in zip(("low", "high"), quantized, strict=True)
        ]
        after.op_type = "Clip"
        del after.attribute[:]
        del after.input[:]
        after.input.extend([before.input[0], *names])


def _between_quantization(
    model: onnx.ModelProto, kinds: set[str]
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]]:
    """Each operator of these kinds that reads a DequantizeLinear and that one QuantizeLinear alone reads, with both."""
    nodes = list(model.graph.node)
    producers = {output: node for node in nodes for output in node.output}
    outputs = {output.name for output in model.graph.output}
    for node in nodes:
        before = producers.get(node.input[0]) if node.op_type in kinds else None
        readers = [other for other in nodes if node.output[0] in other.input] if before is not None else []
        if before is None or before.op_type != "DequantizeLinear" or node.output[0] in outputs:
            continue
        if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
            yield before, node, readers[0]


def _same(model: onnx.ModelProto, before: onnx.NodeProto, after: onnx.NodeProto) -> bool:
    pairs = [(constant(model, before.input[k]), constant(model, after.input[k])) for k in (1, 2)]
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)


def _bounds(model: onnx.ModelProto, clamp: onnx.NodeProto) -> tuple[float, float] | None:
    if clamp.op_type == "Relu":
        return 0.0, np.inf
    found = []
    for position, missing in ((1, -np.inf), (2, np.inf)):
        given = len(clamp.input) > position and clamp.input[position]
        value = constant(model, clamp.input[position]) if given else np.array(missing)
        if value is None:
            return None
        found.append(float(value))
    return found[0], found[1]


def _number(model: onnx.ModelProto, name: str, value: Array) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name
