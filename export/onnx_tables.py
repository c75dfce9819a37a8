"""Constants that are added to or multiplied with activations, as ONNX Runtime needs them: of the activations' type.

Its integer add, mul and concat take operands of one type only, and activations are uint8. The real values stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeds.export.onnx_rewrites import constant

if TYPE_CHECKING:
    import onnx

READERS = {"Add", "Mul", "Concat"}


def tables_to_uint8(model: onnx.ModelProto) -> None:
    """Each int8 constant that a sum, a product or a concatenation reads becomes uint8. Leaves unused tensors behind."""
    from onnx import numpy_helper

    read = {name for node in model.graph.node if node.op_type in READERS for name in node.input}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.output[0] not in read:
            continue
        for k in (0, 2):
            value = constant(model, node.input[k])
            if value is not None and value.dtype == np.int8:
                name = f"{node.input[k]}_table{k}_uint8"
                moved = (value.astype(np.int16) + 128).astype(np.uint8)
                if constant(model, name) is None:
                    model.graph.initializer.append(numpy_helper.from_array(moved, name))
                node.input[k] = name
