"""Operators that change no value in inference are removed: dropout, clone, contiguous, alias, detach, x.float() of a float."""

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
CASTS = {
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.other,
    aten.type_as.default,
    aten._to_copy.default,
}


def identity(module: fx.GraphModule) -> int:
    """Removes every operator that returns its input unchanged in inference. Exact; returns how many.

    A view of what `contiguous` made needs the copy; a reshape does not.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.view.default:
            node.target = aten.reshape.default
        if node.op == "call_function" and (node.target in IDENTITIES or _casts_to_its_own_type(node)):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
            count += 1
    return count


def _casts_to_its_own_type(node: fx.Node) -> bool:
    source = node.args[0] if node.args else None
    if node.target not in CASTS or not isinstance(source, fx.Node):
        return False
    made, given = node.meta.get("val"), source.meta.get("val")
    return isinstance(made, torch.Tensor) and isinstance(given, torch.Tensor) and made.dtype is given.dtype
