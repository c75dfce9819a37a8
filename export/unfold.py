"""Folded weights unfolded again, for the converter that wants to see a quantize before every dequantize.

litert-torch cannot read a dequantize of an int8 constant. The float constant scale · q quantizes to the same int8 q,
so that the unfolded graph is the same function, bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeds.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, references
from edgeds.spec import Array, Node, Program


def unfold(program: Program) -> Program:
    """The same program with every int8 constant as a float constant and a quantize."""
    producers = {node.name: node for node in program.nodes}
    tensors = dict(program.tensors)
    nodes: list[Node] = []
    for node in program.nodes:
        if node.target not in (DEQUANTIZE_CHANNELS, DEQUANTIZE) or producers[node.args[0]["node"]].op != "get_attr":
            nodes.append(node)
            continue
        constant = producers[node.args[0]["node"]]
        name = f"{node.name}_float"
        tensors[name] = _dequantized(program, producers, node, program.tensors[constant.target])
        value = replace(constant, name=name, target=name, dtype="float32")
        quantize = replace(
            node, name=f"{node.name}_quantize", target=node.target.replace(".dequantize", ".quantize"), dtype="int8"
        )
        nodes += [
            value,
            replace(quantize, args=[{"node": name}, *node.args[1:]]),
            replace(node, args=[{"node": quantize.name}, *node.args[1:]]),
        ]
    return _without_unread(Program(tuple(nodes), tensors, program.input_shapes))


def _dequantized(program: Program, producers: dict[str, Node], node: Node, value: Array) -> Array:
    if node.target == DEQUANTIZE:
        scale, zero_point = (np.asarray(number, np.float32) for number in node.args[1:3])
        return (value.astype(np.float32) - zero_point) * scale
    scales, zero_points = (program.tensors[producers[node.args[k]["node"]].target] for k in (1, 2))
    shape = [1] * value.ndim
    shape[node.args[3]] = -1
    centred = value.astype(np.float32) - zero_points.astype(np.float32).reshape(shape)
    return centred * scales.astype(np.float32).reshape(shape)


def _without_unread(program: Program) -> Program:
    """Without the constants that no step reads any more."""
    read = {name for node in program.nodes for name in references(node.args)}
    nodes = tuple(node for node in program.nodes if node.op != "get_attr" or node.name in read)
    kept = {node.target for node in nodes if node.op == "get_attr"}
    return Program(nodes, {name: t for name, t in program.tensors.items() if name in kept}, program.input_shapes)
