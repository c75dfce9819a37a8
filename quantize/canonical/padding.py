"""Padding by reflection, by the border's values or around becomes slices and concatenations, which only move integers.

XNNPACK and LiteRT pad with a constant only; each other pad would end the delegate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments, call, shape_of, substitute

aten = torch.ops.aten
MODES = {
    aten.reflection_pad1d.default: "reflect",
    aten.reflection_pad2d.default: "reflect",
    aten.replication_pad1d.default: "replicate",
    aten.replication_pad2d.default: "replicate",
}


def padding(module: fx.GraphModule) -> int:
    """Rewrites pad with a mode that is not constant. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        mode = MODES.get(node.target)
        if node.target is aten.pad.default:
            mode = arguments(node)["mode"]
        amounts: Any = arguments(node).get("pad", arguments(node).get("padding")) if mode else None
        if mode in (None, "constant") or min(amounts) < 0:
            continue
        with module.graph.inserting_before(node):
            x: Any = node.args[0]
            for k in range(len(amounts) // 2):  # the last axis comes first
                x = _padded(module, node, x, len(shape_of(x)) - 1 - k, amounts[2 * k : 2 * k + 2], str(mode))
        substitute(module, node, x)
        count += 1
    return count


def _padded(module: fx.GraphModule, node: fx.Node, x: fx.Node, axis: int, amounts: Sequence[int], mode: str) -> fx.Node:
    size, (before, behind) = shape_of(x)[axis], amounts
    if mode == "circular":
        places = [(size - before, before)] if before else []
        parts = [*places, (0, size), *([(0, behind)] if behind else [])]
    elif mode == "reflect":
        parts = [*((k, 1) for k in range(before, 0, -1)), (0, size), *((size - 2 - k, 1) for k in range(behind))]
    else:
        parts = [*[(0, 1)] * before, (0, size), *[(size - 1, 1)] * behind]
    if len(parts) == 1:
        return x
    made: dict[tuple[int, int], fx.Node] = {(0, size): x}
    for start, length in parts:
        if (start, length) not in made:
            shape = [*shape_of(x)[:axis], length, *shape_of(x)[axis + 1 :]]
            args = (x, axis, start, start + length)
            made[start, length] = call(module, aten.slice.Tensor, args, like=x, shape=shape, module_of=node)
    shape = [*shape_of(x)[:axis], size + before + behind, *shape_of(x)[axis + 1 :]]
    pieces = [made[part] for part in parts]
    return call(module, aten.cat.default, (pieces, axis), like=x, shape=shape, module_of=node)
