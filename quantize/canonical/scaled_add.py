"""add and sub with `alpha`, which litert-torch 0.10 cannot convert, become a multiplication and a plain one."""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import call

aten = torch.ops.aten


def scaled_add(module: fx.GraphModule) -> int:
    """x + alpha · y becomes x + (y · alpha). Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target not in (aten.add.Tensor, aten.sub.Tensor) or set(node.kwargs) != {"alpha"}:
            continue
        x, y = node.args
        if isinstance(y, fx.Node):
            with module.graph.inserting_before(node):
                y = call(module, aten.mul.Tensor, (y, node.kwargs["alpha"]), like=y, module_of=node)
        else:
            y = y * node.kwargs["alpha"]
        node.args, node.kwargs = (x, y), {}
        count += 1
    return count
