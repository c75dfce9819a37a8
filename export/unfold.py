"""Folded weights unfolded again, for the converter that wants to see a quantize before every dequantize.

litert-torch cannot read a dequantize of an int8 constant. The float constant scale · q quantizes to the same int8 q,
so that the unfolded graph is the same function, bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeds.spec import Array, Node, Program

DEQUANTIZE = "quantized_decomposed.dequantize_per_channel.default"
QUANTIZE = "quantized_decomposed.quantize_per_channel.default"


def unfold(program: Program) -> Program:
    """The same program with every per-channel int8 constant as a float constant and a quantize."""
    producers = {node.name: node for node in program.nodes}
    tensors = dict(program.tensors)
    nodes: list[Node] = []
    folded: set[str] = set()
    for node in program.nodes:
        if node.target == DEQUANTIZE and producers[node.args[0]["node"]].op == "get_attr":
            weight = producers[node.args[0]["node"]]
            scales = tensors[producers[node.args[1]["node"]].target]
            if weight.name not in folded:
                tensors[weight.target] = _dequantized(tensors[weight.target], scales, node.args[3])
                folded.add(weight.name)
            quantize = replace(node, name=f"{node.name}_quantize", target=QUANTIZE, dtype="int8")
            nodes += [quantize, replace(node, args=[{"node": quantize.name}, *node.args[1:]])]
        else:
            nodes.append(node)
    return Program(tuple(nodes), tensors, program.input_shapes)


def _dequantized(weight: Array, scales: Array, axis: int) -> Array:
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight.astype(np.float32) * scales.astype(np.float32).reshape(shape)
