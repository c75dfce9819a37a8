"""Every way to put tensors beside each other becomes cat, the one that quantization gives a common scale.

TFLite's converter makes a concatenation of a stack too, and where nothing else says a scale gives all of it that of the first tensor.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments, call, reshaped, shape_of

aten = torch.ops.aten
OTHER_NAMES = {aten.concat.default, aten.concatenate.default}


def join(module: fx.GraphModule) -> int:
    """Rewrites stack, concat, concatenate, hstack and vstack of tensors with axes. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or (axis := _axis(node)) is None:
            continue
        parts = list(arguments(node)["tensors"])
        if node.target is aten.stack.default:
            axis %= len(shape_of(node))
            with module.graph.inserting_before(node):
                parts = [reshaped(module, part, _with_axis(shape_of(part), axis), module_of=node) for part in parts]
        with module.graph.inserting_before(node):
            joined = call(module, aten.cat.default, (parts, axis), like=node)
        node.replace_all_uses_with(joined)
        module.graph.erase_node(node)
        count += 1
    return count


def _axis(node: fx.Node) -> int | None:
    """The axis that a node's tensors are joined along; None where it joins none, or none that have axes."""
    target = node.target
    if target is aten.stack.default or target in OTHER_NAMES:
        return int(arguments(node)["dim"])
    rank = len(shape_of(node))
    if target is aten.hstack.default and rank > 0:
        return 0 if rank == 1 else 1
    return 0 if target is aten.vstack.default and _all_have_rank(node, rank) else None


def _all_have_rank(node: fx.Node, rank: int) -> bool:
    return all(len(shape_of(part)) == rank for part in arguments(node)["tensors"])


def _with_axis(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis:])
