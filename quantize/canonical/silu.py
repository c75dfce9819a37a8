"""silu(x) = x · sigmoid(x): all three runtimes have both in integers, and none has SiLU itself.

int8 is 1.4 to 1.7 times faster than the float detour: see export/forms.py for how that was measured.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import call

aten = torch.ops.aten


def silu(module: fx.GraphModule) -> int:
    """Rewrites every silu. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.silu.default:
            continue
        x = node.args[0]
        with module.graph.inserting_before(node):
            gate = call(module, aten.sigmoid.default, (x,), like=node)
            product = call(module, aten.mul.Tensor, (x, gate), like=node)
        node.replace_all_uses_with(product)
        module.graph.erase_node(node)
        count += 1
    return count
