"""Values inside a program, and which of a float program's are those of a quantized graph: what a layer should have given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeds import program as programs
from edgeds.eager import batch
from edgeds.export.taps import Tap
from edgeds.spec import Array, Node, Program, Samples

# What quantization folds into the layer before it: batch-norm into weights, clamps into the output's range.
FOLDED = {
    "aten.batch_norm.default",
    "aten.dropout.default",
    "aten.hardtanh.default",
    "aten.relu.default",
    "aten.relu6.default",
}
# What quantization folds into a layer before it, and into nothing else: products and sums with constants, and a hardsigmoid, which is one of
# these with a clamp (edgeds.quantize.canonical.lines).
FOLDED_INTO_LAYERS = {
    "aten.add.Tensor",
    "aten.div.Tensor",
    "aten.hardsigmoid.default",
    "aten.mul.Tensor",
    "aten.sub.Tensor",
}
LAYERS = {"aten.conv2d.default", "aten.conv2d.padding", "aten.linear.default"}


def float_names(program: Program, graph: Program, watched: Sequence[Tap]) -> dict[str, str]:
    """For each tap's step the node of the float program that it quantizes, '' where there is none.

    Nodes keep their names from one to the other; behind them follow the folded ones. A layer that was rewritten in other operators ends
    where the user's module ends.
    """
    own = {node.name: node for node in program.nodes}
    kept = {node.name: node for node in graph.nodes}
    users: dict[str, list[Node]] = {}
    for node in program.nodes:
        for name in programs.references(node.args):
            users.setdefault(name, []).append(node)
    last_of_module = {node.module: node.name for node in program.nodes if node.op == "call_function" and node.module}
    last_tap = {tap.module: tap.step for tap in watched}
    found: dict[str, str] = {}
    for tap in watched:
        source = next(programs.references(kept[tap.step].args))
        name = source if source in own else ""
        is_layer = name and _is_layer(own[name])
        while len(users.get(name, [])) == 1 and (reader := users[name][0]).name not in kept:
            if reader.target not in FOLDED and not (is_layer and _is_folded_into_layers(reader, own)):
                break
            name = reader.name
        if not name and last_tap[tap.module] == tap.step:
            name = last_of_module.get(tap.module, "")
        found[tap.step] = name if name and own[name].shape == kept[tap.output].shape else ""
    return found


def _is_layer(node: Node) -> bool:
    """Whether it is a layer whose channels are on axis 1, where a number a channel can be folded into its weights."""
    return node.target in LAYERS and (len(node.shape) == 4 or len(node.shape) == 2)


def _is_folded_into_layers(node: Node, program: dict[str, Node]) -> bool:
    """Whether the node computes of one value and constants what a layer before it can compute as well."""
    read = [name for name in programs.references(node.args) if program[name].op != "get_attr"]
    return node.target in FOLDED_INTO_LAYERS and len(read) == 1


def node_values(program: Program, samples: Samples, names: Sequence[str]) -> dict[str, Array]:
    """What PyTorch computes at these nodes for all samples, [N, ...] each."""
    import torch
    from torch import fx

    wanted = dict.fromkeys(names)
    kept: dict[str, list[Array]] = {name: [] for name in wanted}

    class Recorded(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n.name in kept:
                kept[n.name].append(value.numpy())
            return value

    module = programs.to_graph_module(program)
    with torch.no_grad():
        for first in range(0, len(samples), program.batch):
            Recorded(module).run(*batch(samples, first, program.batch))
    return {name: np.concatenate(parts)[: len(samples)] for name, parts in kept.items()}
