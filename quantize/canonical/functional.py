"""In-place operators become out-of-place ones: quantization and all three converters think in values, not in memory."""

from __future__ import annotations

import torch
from torch import fx

from edgeds.errors import ModelError


def functional(module: fx.GraphModule) -> int:
    """Rewrites every `op_` to `op` and lets later readers of the changed input read the result. Exact; returns how many.

    Raises ModelError where the change is read through another view of the same memory: the values would silently differ.
    """
    count = 0
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        replacement = _out_of_place(node)
        if replacement is None:
            continue
        source = node.args[0]
        for alias in order:
            if alias is not source and _memory(alias) is _memory(source) and not _sees(alias, node):
                _require_unread(node, [user for user in alias.users if order[user] > order[node]])
        for user in list(source.users):
            if order[user] > order[node]:
                user.replace_input_with(source, node)
        node.target = replacement
        count += 1
    return count


def _require_unread(node: fx.Node, readers: list[fx.Node]) -> None:
    if readers:
        trace = str(node.meta.get("edgeds_module", ""))
        where = f" in module {trace!r}" if trace else ""
        raise ModelError(
            f"{node.target}{where} changes memory that {readers[0].name!r} reads through another view; "
            "compute a new tensor instead (x = relu(x), not relu_(x.view(...)))"
        )


def _sees(alias: fx.Node, node: fx.Node) -> bool:
    """Whether an alias is what an in-place operator returns, or comes from that: then it is read with the change."""
    while alias is not node and alias.op == "call_function" and alias.args and isinstance(alias.args[0], fx.Node):
        alias = alias.args[0]
    return alias is node


def _memory(node: fx.Node) -> fx.Node:
    """The node that owns the memory of a node's value: views and in-place operators lead back to it."""
    while isinstance(node.target, torch._ops.OpOverload) and node.args and isinstance(node.args[0], fx.Node):
        if not any(returned.alias_info is not None for returned in node.target._schema.returns):
            break
        node = node.args[0]
    return node


def _out_of_place(node: fx.Node) -> torch._ops.OpOverload | None:
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return None
    name, overload = target._schema.name.split("::")[1], target._overloadname
    if target.namespace != "aten" or not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(torch.ops.aten, name[:-1], None)
    return getattr(packet, overload, None) if packet is not None else None
