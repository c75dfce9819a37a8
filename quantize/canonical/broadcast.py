"""A value that is expanded for a sum or a product goes in as it is: every runtime's add and mul broadcasts, and none expands integers."""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import shape_of

aten = torch.ops.aten
EXPANSIONS = {aten.expand.default, aten.expand_as.default, aten.repeat.default, aten.broadcast_to.default}
BROADCASTING = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}


def broadcast(module: fx.GraphModule) -> int:
    """Lets sums and products read what was expanded. Exact; returns how many expansions went."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target not in EXPANSIONS:
            continue
        source = node.args[0]
        if any(a not in (1, b) for a, b in zip(shape_of(source)[::-1], shape_of(node)[::-1], strict=False)):
            continue  # a tile is no broadcast
        for user in list(node.users):
            if _is_unneeded(node, user) or shape_of(source) == shape_of(node):
                user.replace_input_with(node, source)
                count += 1
    module.graph.eliminate_dead_code()
    return count


def _is_unneeded(node: fx.Node, user: fx.Node) -> bool:
    """Whether the other operand has the result's shape and rank already."""
    if user.target not in BROADCASTING or len(shape_of(node.args[0])) != len(shape_of(node)):  # type: ignore[arg-type]
        return False
    others = [x for x in user.all_input_nodes if x is not node]
    return len(others) == 1 and shape_of(others[0]) == shape_of(user)
