"""Operators that change no value in inference are removed: dropout, clone, contiguous, alias, detach."""

from __future__ import annotations

import torch
from torch import fx

aten = torch.ops.aten
IDENTITIES = {
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
}


def identity(module: fx.GraphModule) -> int:
    """Removes every operator that returns its input unchanged in inference. Exact; returns how many.

    A view of what `contiguous` made needs the copy; a reshape does not.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.view.default:
            node.target = aten.reshape.default
        if node.op == "call_function" and node.target in IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
            count += 1
    return count
