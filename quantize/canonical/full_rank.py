"""A constant of lower rank than what it is added to or multiplied with gets its axes: XNNPACK would broadcast it along others.

It keeps images channels last, and a [C, 1, 1] as it is.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor, is_constant, shape_of

aten = torch.ops.aten


def full_rank(module: fx.GraphModule) -> int:
    """Gives the constants of sums and products all axes. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        for constant in node.all_input_nodes if node.target in (aten.add.Tensor, aten.mul.Tensor) else ():
            missing = len(shape_of(node)) - len(shape_of(constant))
            if is_constant(constant) and missing > 0 and node.meta["val"].dtype is torch.float32:
                value = tensor_of(module, constant)
                with module.graph.inserting_before(node):
                    table = add_tensor(module, "table", value.reshape(*[1] * missing, *value.shape))
                node.replace_input_with(constant, table)
                count += 1
    return count
