"""What the quantized graph says of each tensor: scale, zero point, range."""

from __future__ import annotations

from typing import Any

from edgeds.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, output_nodes
from edgeds.spec import Node, Program, TensorQuantization


def tensor_quantization(graph: Program) -> tuple[TensorQuantization, ...]:
    """One entry a quantized tensor, in the order of the graph: activations per tensor, weights per channel."""
    producers = {node.name: node for node in graph.nodes}
    found: dict[str, TensorQuantization] = {}
    for node in graph.nodes:
        if node.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS):
            entry = _entry(graph, producers, node)
            found.setdefault(entry.name, entry)
    return tuple(found.values())


def output_scales(graph: Program) -> tuple[float, ...]:
    """The quantization step of each of the graph's outputs; 0 for an output that is not quantized."""
    return tuple(float(node.args[1]) if node.target == DEQUANTIZE else 0.0 for node in output_nodes(graph))


def input_ranges(graph: Program) -> dict[str, tuple[float, float]]:
    """The least and the largest value that int8 holds of each input, by its name in the forward; one that is read in float is left out."""
    inputs = {node.name: node.target for node in graph.nodes if node.op == "placeholder"}
    found = {}
    for node in graph.nodes:
        if node.target == QUANTIZE and (name := node.args[0]["node"]) in inputs:
            scale, zero_point, low, high = node.args[1:5]
            found[inputs[name]] = (float((low - zero_point) * scale), float((high - zero_point) * scale))
    return found


def _entry(graph: Program, producers: dict[str, Node], node: Node) -> TensorQuantization:
    source = _before_quantize(producers, node.args[0])
    if node.target == DEQUANTIZE:
        scale, zero_point, low, high = node.args[1:5]
        return TensorQuantization(
            source.name, source.module, "int8", low, high, (float(scale),), (int(zero_point),), None
        )
    scales, zero_points = (_tensor(graph, producers, node.args[k]) for k in (1, 2))
    axis, low, high = node.args[3:6]
    user = next(n for n in graph.nodes if {"node": node.name} in n.args)
    return TensorQuantization(
        f"{user.name}.weight",
        user.module,
        "int8",
        low,
        high,
        tuple(map(float, scales)),
        tuple(map(int, zero_points)),
        axis,
    )


def _before_quantize(producers: dict[str, Node], reference: Any) -> Node:
    node = producers[reference["node"]]
    if node.target == QUANTIZE:
        return producers[node.args[0]["node"]]
    return node


def _tensor(graph: Program, producers: dict[str, Node], reference: Any) -> Any:
    return graph.tensors[producers[reference["node"]].target]
