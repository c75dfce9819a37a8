"""Each output of a quantized program gets a dequantize that nothing else reads, for the converter that would transpose it twice.

litert-torch 0.10 makes outputs channels last, and moves that transpose through the graph; where another step (argmax) or another output
reads the same value, it comes out as [N, H, C, W].
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from edgeds.program import references
from edgeds.spec import Node, Program

DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor.default"


def own_outputs(program: Program) -> Program:
    """The same program, the same values: only the last dequantize of an output that has other readers is there once more."""
    *steps, output = program.nodes
    by_name = {node.name: node for node in steps}
    reads = Counter(name for node in program.nodes for name in references([node.args, {"dict": node.kwargs}]))
    copies: list[Node] = []
    returned: list[dict[str, str]] = []
    for name in references(output.args):
        node = by_name[name]
        if node.target == DEQUANTIZE and reads[name] > 1:
            node = replace(node, name=f"{name}_output_{len(copies)}")
            copies.append(node)
        returned.append({"node": node.name})
    return replace(program, nodes=(*steps, *copies, replace(output, args=[returned]))) if copies else program
