"""Every way to choose between values by a mask becomes where(mask, a, b) with tensors, which annotation gives one scale.

A number in a where or masked_fill has no scale of its own. TFLite's converter gives it that of the other operand, silently: -0.25 among
values from 0 on becomes 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor, arguments, is_constant, shape_of

aten = torch.ops.aten
FILLS = {aten.masked_fill.Scalar, aten.masked_fill.Tensor}
CHOICES = {aten.where.self, aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther}


def choose(module: fx.GraphModule) -> int:
    """Rewrites masked_fill, and where with numbers or with constants of one repeated value. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target not in FILLS | CHOICES or not _is_float(node):
            continue
        given = arguments(node)
        if node.target in FILLS:
            mask, chosen, other = given["mask"], given["value"], given["self"]
        else:
            mask, chosen, other = given["condition"], given["self"], given["other"]
        if any(isinstance(value, int | float) and not math.isfinite(value) for value in (chosen, other)):
            continue  # infinity has no place in an int8 range
        with module.graph.inserting_before(node):
            values = [_tensor(module, value, len(shape_of(node))) for value in (chosen, other)]
        if node.target is aten.where.self and values == [chosen, other]:
            continue
        node.target, node.args, node.kwargs = aten.where.self, (mask, *values), {}
        count += 1
    return count


def _tensor(module: fx.GraphModule, value: Any, rank: int) -> Any:
    """A number, or a constant that repeats one, as a constant of one element and of full rank; another value as it is."""
    if isinstance(value, fx.Node):
        if not is_constant(value) or shape_of(value) == (1,) * rank:
            return value
        tensor = tensor_of(module, value)
        if not tensor.numel() or not bool((tensor == tensor.flatten()[0]).all()):
            return value
        value = float(tensor.flatten()[0])
    return add_tensor(module, "choice", torch.full((1,) * rank, float(value)))


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32
