"""One computation that a model writes twice is done once.

The converters merge equal steps too, but only after quantization: a convolution and its twin with another range behind it end up in float.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import substitute


def duplicates(module: fx.GraphModule) -> int:
    """Lets every reader of a repeated call read the first one; constants are equal by their content. Exact; returns how many calls went."""
    first: dict[Any, fx.Node] = {}
    contents: dict[fx.Node, Any] = {}

    def content(node: fx.Node) -> Any:
        if node.op != "get_attr":
            return node
        if node not in contents:
            value = tensor_of(module, node)
            data = value.contiguous().cpu().numpy().tobytes()
            contents[node] = (value.dtype, tuple(value.shape), hashlib.sha256(data).digest())
        return contents[node]

    count = 0
    for node in list(module.graph.nodes):
        if not _is_repeatable(node):
            continue
        key = (node.target, _frozen(node.args, content), _frozen(node.kwargs, content))
        known = first.setdefault(key, node)
        if known is not node:
            substitute(module, node, known)
            count += 1
    return count


def _is_repeatable(node: fx.Node) -> bool:
    """Whether a call with the same arguments gives the same value."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or schema.is_mutable:
        return False
    return torch.Tag.nondeterministic_seeded not in node.target.tags  # type: ignore[union-attr]  # an operator has tags


def _frozen(value: Any, content: Callable[[fx.Node], Any]) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item, content) for item in value)
    if isinstance(value, dict):
        return tuple((key, _frozen(item, content)) for key, item in sorted(value.items()))
    if isinstance(value, fx.Node):
        return content(value)
    return (type(value), value) if isinstance(value, bool | int | float) else value
