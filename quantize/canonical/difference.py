"""A difference of two values becomes a sum with a negated one: ONNX Runtime adds int8 tensors, but has no kernel that subtracts them.

The negation is a line a channel, which mostly joins with the convolution that computes the value: see lines.py. A square is a product.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments, call, is_constant, shape_of, substitute
from edgeds.quantize.canonical.line import line

aten = torch.ops.aten


def difference(module: fx.GraphModule) -> int:
    """x - y becomes x + (-1 · y). Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target not in (aten.sub.Tensor, aten.rsub.Tensor):
            continue
        given = arguments(node)
        x, y = given["self"], given["other"]
        if given["alpha"] != 1 or not _is_value(x) or not _is_value(y):
            continue
        if node.target is aten.rsub.Tensor:
            x, y = y, x
        channels = (shape_of(y)[1:] or shape_of(y))[0]
        with module.graph.inserting_before(node):
            negated = line(module, node, y, torch.full((channels,), -1.0), torch.zeros(channels))
            total = call(module, aten.add.Tensor, (x, negated), like=node)
        substitute(module, node, total)
        count += 1
    return count


def square(module: fx.GraphModule) -> int:
    """x ** 2 becomes x · x. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        power = node.args[1] if node.target is aten.pow.Tensor_Scalar else None
        if node.target is aten.square.default or power == 2:
            node.target, node.args = aten.mul.Tensor, (node.args[0], node.args[0])
            count += 1
    return count


def _is_value(node: object) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) and not is_constant(node) else None
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32 and value.ndim > 0
