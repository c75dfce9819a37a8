"""What is computed from constants alone becomes a constant.

litert-torch 0.10 takes an unfolded one for a value that is channels-last already and silently mixes up its axes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor

aten = torch.ops.aten
# What has the shape of another value and nothing else of it.
LIKE = {
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.new_zeros.default,
    aten.new_ones.default,
    aten.new_full.default,
}


def constants(module: fx.GraphModule) -> int:
    """Evaluates every call that reads constants only, or nothing (`full`, `arange`), or a value's shape (`zeros_like`). Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor) or _changes_memory(node):
            continue
        if node.target not in LIKE and any(source.op != "get_attr" for source in node.all_input_nodes):
            continue
        value = _value(module, node)
        with module.graph.inserting_before(node):
            constant = add_tensor(module, "constant", value.clone())
        node.replace_all_uses_with(constant)
        module.graph.erase_node(node)
        count += 1
    return count


def _changes_memory(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable


def _value(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    def given(source: fx.Node) -> Any:
        if source.op == "get_attr":
            return tensor_of(module, source)
        like = source.meta["val"]  # only its shape and type are read, see LIKE
        return torch.zeros(like.shape, dtype=like.dtype)

    with torch.no_grad():
        args, kwargs = fx.map_arg((node.args, node.kwargs), given)
        value: torch.Tensor = node.target(*args, **kwargs)  # type: ignore[operator]  # an operator: it is a call
    return value
