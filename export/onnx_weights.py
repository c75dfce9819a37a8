"""Weights as ONNX Runtime needs them to compute without saturation on any x86 CPU: the same real values.

Without VNNI, its kernels for uint8 activations and int8 weights add two products in 16 bits, which saturates (10 dB instead of 32
measured), unless `session.x64quantprecision` is set, as edgeds.run.agent does. ONNX Runtime 1.31.1 then makes a uint8 weight and zero point
beside each int8 one, named after it, and fails on the second use of either. So each weight gets a zero point of its own, and one that
several steps share is uint8 from the start.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def separate_weights(model: onnx.ModelProto) -> None:
    """No int8 weight, and no int8 zero point of one, is used twice. Leaves unused tensors behind."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    weights = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in tensors]
    uses: Counter[str] = Counter()
    for node in weights:
        uses[node.input[0]] += readers[node.output[0]]
    made: set[str] = set()
    for node in weights:
        name = node.input[0]
        suffix = "_uint8" if uses[name] > 1 else ""
        replaced = {name + suffix: name, f"{name}_zero_point{suffix}": node.input[2]}
        for new, old in replaced.items():
            if new != old and new not in made:
                made.add(new)
                _add(model, new, tensors[old], as_uint8=bool(suffix))
        node.input[0], node.input[2] = replaced


def _add(model: onnx.ModelProto, name: str, like: onnx.TensorProto, as_uint8: bool) -> None:
    from onnx import numpy_helper

    value = numpy_helper.to_array(like)
    if as_uint8 and value.dtype == np.int8:
        value = (value.astype(np.int16) + 128).astype(np.uint8)
    model.graph.initializer.append(numpy_helper.from_array(value, name))
