"""The steps of a quantized graph that compute in float: what has no int8 rule."""

from __future__ import annotations

from collections.abc import Iterator

from edgeds.program import references
from edgeds.spec import Node, Program

CONVERSIONS = "quantized_decomposed."
QUANTIZE = "quantized_decomposed.quantize_per_tensor.default"


def float_steps(program: Program) -> Iterator[Node]:
    """The steps whose value is used in float: neither they nor the clamp behind them are quantized."""
    users: dict[str, list[Node]] = {node.name: [] for node in program.nodes}
    for node in program.nodes:
        for name in references(node.args):
            users[name].append(node)
    for node in program.nodes:
        readers = users[node.name]
        clamp = readers[0].name if len(readers) == 1 else node.name
        if node.op == "call_function" and not node.target.startswith(CONVERSIONS):
            quantized = all(reader.target == QUANTIZE for reader in readers) and readers
            behind = all(reader.target == QUANTIZE for reader in users[clamp]) and users[clamp]
            if not quantized and not behind:
                yield node
