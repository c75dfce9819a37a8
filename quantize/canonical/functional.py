"""In-place operators become out-of-place ones: quantization and all three converters think in values, not in memory."""

from __future__ import annotations

import torch
from torch import fx


def functional(module: fx.GraphModule) -> int:
    """Rewrites every `op_` to `op` and lets later readers of the mutated input read the result. Exact; returns how many."""
    count = 0
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        replacement = _out_of_place(node.target)
        if replacement is None:
            continue
        source = node.args[0]
        for user in list(source.users):
            if order[user] > order[node]:
                user.replace_input_with(source, node)
        node.target = replacement
        count += 1
    return count


def _out_of_place(target: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    name, overload = target._schema.name.split("::")[1], target._overloadname
    if target.namespace != "aten" or not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(torch.ops.aten, name[:-1], None)
    return getattr(packet, overload, None) if packet is not None else None
