"""What of a quantized file is float after all: who leaves the logits in float spares them a rounding that others have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeds.program import DEQUANTIZE, QUANTIZE, references
from edgeds.quantize.parameters import tensor_quantization
from edgeds.spec import Node, Program, QuantizedModel


def has_float_logits(file: Path) -> bool:
    """Whether an .onnx or .tflite computes its outputs in float, instead of in int8 that is dequantized at most."""
    return _onnx_is_float(file) if file.suffix == ".onnx" else _tflite_is_float(file)


def with_float_logits(quantized: QuantizedModel) -> QuantizedModel:
    """The same quantized graph without the quantize and dequantize behind its outputs."""
    graph = unrounded(quantized.graph)
    return replace(quantized, graph=graph, tensors=tensor_quantization(graph))


def unrounded(graph: Program) -> Program:
    """The graph with its outputs as they are before they are rounded."""
    by_name = {node.name: node for node in graph.nodes}
    *rest, last = graph.nodes
    bypassed: dict[str, str] = {}
    for node in rest:
        before = by_name[node.args[0]["node"]] if node.target == DEQUANTIZE else node
        if before.target == QUANTIZE:
            bypassed[node.name] = before.args[0]["node"]
    output = replace(last, args=_renamed(last.args, bypassed))
    used = set(_names([output, *rest]))
    while dead := [node for node in rest if node.name not in used and node.op != "placeholder"]:
        rest = [node for node in rest if node not in dead]
        used = set(_names([output, *rest]))
    return replace(graph, nodes=(*rest, output))


def _renamed(value: object, names: dict[str, str]) -> object:
    """JSON arguments that refer to other nodes."""
    if isinstance(value, dict):
        return {key: names.get(v, v) if key == "node" else _renamed(v, names) for key, v in value.items()}
    return [_renamed(v, names) for v in value] if isinstance(value, list | tuple) else value


def _names(nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        yield from references(node.args)
        yield from references(node.kwargs)


def _onnx_is_float(file: Path) -> bool:
    import onnx

    graph = onnx.load(file).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    return any(makers[output.name] != "DequantizeLinear" for output in graph.output)


def _tflite_is_float(file: Path) -> bool:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file))
    makers = {index: op["op_name"] for op in interpreter._get_ops_details() for index in op["outputs"]}
    outputs = interpreter.get_output_details()
    return any(np.issubdtype(x["dtype"], np.floating) and makers[x["index"]] != "DEQUANTIZE" for x in outputs)
