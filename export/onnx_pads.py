"""A pad between int8 tensors of one scale becomes a pad of integers: ONNX Runtime pads them, but leaves the conversions around in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeds.export.onnx_rewrites import constant

if TYPE_CHECKING:
    import onnx


def integer_pads(model: onnx.ModelProto) -> None:
    """Dequantize → Pad → Quantize with one scale and zero point becomes Pad. Leaves unused nodes behind."""
    from onnx import numpy_helper

    producers = {output: node for node in model.graph.node for output in node.output}
    for quantize in model.graph.node:
        pad = producers.get(quantize.input[0]) if quantize.op_type == "QuantizeLinear" else None
        before = producers.get(pad.input[0]) if pad is not None and pad.op_type == "Pad" else None
        if pad is None or before is None or before.op_type != "DequantizeLinear":
            continue
        scale, zero_point = (constant(model, quantize.input[k]) for k in (1, 2))
        value = constant(model, pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
        if scale is None or zero_point is None or value is None or not _shares(model, before, quantize):
            continue
        limits = np.iinfo(zero_point.dtype)
        number = np.clip(np.rint(value.reshape(()) / scale) + int(zero_point), limits.min, limits.max)
        name = f"{quantize.output[0]}_padded_with"
        model.graph.initializer.append(numpy_helper.from_array(number.astype(zero_point.dtype), name))
        inputs = [before.input[0], pad.input[1], name, *pad.input[3:]]
        quantize.op_type = "Pad"
        del quantize.input[:]
        quantize.input.extend(inputs)
        del quantize.attribute[:]
        quantize.attribute.extend(pad.attribute)


def _shares(model: onnx.ModelProto, before: onnx.NodeProto, after: onnx.NodeProto) -> bool:
    pairs = [(constant(model, before.input[k]), constant(model, after.input[k])) for k in (1, 2)]
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)
