"""A clamp that int8 saturation does not imply is done after quantization: the same values, and what computes its input becomes an integer kernel.

That is a ReLU whose output shares a scale with values below zero, as before a concatenation. ONNX Runtime's integer convolution has no clamp
of its own, and leaves convolution and ReLU in float. `onnx_forms.integer_clip` makes the rest of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

CLAMPS = {"Relu", "Clip"}


def quantize_before_clamps(model: onnx.ModelProto) -> None:
    """x → clamp → quantize becomes x → quantize → dequantize → clamp → quantize, all with one scale and zero point."""
    from onnx import helper

    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    readers = Counter(name for node in graph.node for name in node.input) + Counter(o.name for o in graph.output)
    for quantize in list(graph.node):
        clamp = producers.get(quantize.input[0]) if quantize.op_type == "QuantizeLinear" else None
        if clamp is None or clamp.op_type not in CLAMPS or readers[clamp.output[0]] != 1:
            continue
        source = producers.get(clamp.input[0])
        if source is None or source.op_type == "DequantizeLinear" or readers[clamp.input[0]] != 1:
            continue
        value, parameters = clamp.input[0], list(quantize.input[1:])
        names = (f"{value}_quantized", f"{value}_dequantized")
        place = next(k for k, node in enumerate(graph.node) if node.output[0] == clamp.output[0])
        graph.node.insert(place, helper.make_node("QuantizeLinear", [value, *parameters], [names[0]]))
        graph.node.insert(place + 1, helper.make_node("DequantizeLinear", [names[0], *parameters], [names[1]]))
        clamp.input[0] = names[1]
