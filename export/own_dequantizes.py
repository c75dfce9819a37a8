"""Each reader of a quantized value gets a dequantize of its own, for the converter that mixes up the layouts of a shared one.

litert-torch 0.10 makes images channels last. Where it turns one back for a reader, it forgets that the dequantize in front of it was
channels last, and what else reads that gets it unturned: a wrong shape, or silently wrong values. An output whose value another step
(argmax) or another output reads came out as [N, H, C, W].
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeds.program import DEQUANTIZE, references
from edgeds.spec import Node, Program


def own_dequantizes(program: Program) -> Program:
    """The same program, the same values: a dequantize that is read several times is there once for each time."""
    reads = [name for node in program.nodes for name in references([node.args, {"dict": node.kwargs}])]
    shared = {node.name: node for node in program.nodes if node.target == DEQUANTIZE and reads.count(node.name) > 1}
    seen: set[str] = set()
    nodes: list[Node] = []

    def own(value: Any) -> Any:
        """Arguments in which each reference to a shared dequantize, but the first, is one to a copy, which stands before the reader."""
        if isinstance(value, list):
            return [own(one) for one in value]
        if not isinstance(value, dict):
            return value
        name = value.get("node")
        if name not in shared:
            return {key: own(one) for key, one in value.items()}
        copy = name if name not in seen else f"{name}_own_{len(nodes)}"
        if copy != name:
            nodes.append(replace(shared[name], name=copy))
        seen.add(name)
        return {"node": copy}

    for node in program.nodes:
        read = replace(node, args=own(node.args), kwargs=own(node.kwargs))
        nodes.append(read)
    return replace(program, nodes=tuple(nodes)) if shared else program
