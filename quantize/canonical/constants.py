"""What is computed from constants alone becomes a constant.

litert-torch 0.10 takes an unfolded one for a value that is channels-last already and silently mixes up its axes.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor


def constants(module: fx.GraphModule) -> int:
    """Evaluates every call that reads constants only, or nothing (`full`, `arange`). Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor) or _changes_memory(node):
            continue
        if any(source.op != "get_attr" for source in node.all_input_nodes):
            continue
        with torch.no_grad():
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: tensor_of(module, source))
            value = node.target(*args, **kwargs)
        with module.graph.inserting_before(node):
            constant = add_tensor(module, "constant", value.clone())
        node.replace_all_uses_with(constant)
        module.graph.erase_node(node)
        count += 1
    return count


def _changes_memory(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable
