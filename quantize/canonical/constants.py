"""What is computed from constants alone becomes a constant.

litert-torch 0.10 takes an unfolded one for a value that is channels-last already and silently mixes up its axes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor

aten = torch.ops.aten
# read their input's shape and nothing else of it
OF_A_SHAPE = {
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.new_zeros.default,
    aten.new_ones.default,
    aten.new_full.default,
}


def constants(module: fx.GraphModule) -> int:
    """Evaluates every call that reads constants only, or shapes, or nothing (`full`, `arange`). Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor) or _changes_memory(node):
            continue
        if node.target in OF_A_SHAPE:
            values: Callable[[fx.Node], torch.Tensor] = _zeros
        elif all(source.op == "get_attr" for source in node.all_input_nodes):
            values = partial(tensor_of, module)
        else:
            continue
        with torch.no_grad():
            args, kwargs = fx.map_arg((node.args, node.kwargs), values)
            value = node.target(*args, **kwargs)
        with module.graph.inserting_before(node):
            constant = add_tensor(module, "constant", value.clone())
        node.replace_all_uses_with(constant)
        module.graph.erase_node(node)
        count += 1
    return count


def _zeros(node: fx.Node) -> torch.Tensor:
    """Something of a node's shape and type."""
    return torch.zeros(tuple(node.meta["val"].shape), dtype=node.meta["val"].dtype)


def _changes_memory(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable
