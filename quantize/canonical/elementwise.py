"""Sums, products and quotients with constants become a line a channel, y = a · x + b.

An input's normalization, layer scale and plain numbers: the runtimes would compute them in float, and annotation has no place for
a number's scale. As 1x1 depthwise convolutions they are integer operators, and mostly join with a neighbour: see lines.py.
A constant that differs from place to place (a position table) stays one: annotation quantizes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import arguments, is_constant, shape_of, substitute
from edgeds.quantize.canonical.line import line
from edgeds.quantize.canonical.pointwise import POINTWISE

aten = torch.ops.aten
Line = tuple[torch.Tensor | float, torch.Tensor | float]

# The line x → a · x + b of each operator with x on its left and the constant c on its right, and the other way round.
RIGHT: dict[Any, Callable[[Any], Line]] = {
    aten.add.Tensor: lambda c: (1.0, c),
    aten.add.Scalar: lambda c: (1.0, c),
    aten.sub.Tensor: lambda c: (1.0, -c),
    aten.sub.Scalar: lambda c: (1.0, -c),
    aten.rsub.Tensor: lambda c: (-1.0, c),
    aten.rsub.Scalar: lambda c: (-1.0, c),
    aten.mul.Tensor: lambda c: (c, 0.0),
    aten.mul.Scalar: lambda c: (c, 0.0),
    aten.div.Tensor: lambda c: (1.0 / c, 0.0),
    aten.div.Scalar: lambda c: (1.0 / c, 0.0),
}
LEFT: dict[Any, Callable[[Any], Line]] = {
    aten.add.Tensor: lambda c: (1.0, c),
    aten.sub.Tensor: lambda c: (-1.0, c),
    aten.rsub.Tensor: lambda c: (1.0, -c),
    aten.mul.Tensor: lambda c: (c, 0.0),
}

# What quantization has rules for, roughly: neighbours that make a line worth its place.
INTEGERS = {
    *POINTWISE,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv_transpose2d.input,
    aten.linear.default,
    aten.batch_norm.default,
    aten.layer_norm.default,
    aten.mean.dim,
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.cat.default,
    aten.slice.Tensor,
    aten.reshape.default,
    aten.permute.default,
    aten.upsample_nearest2d.vec,
}


def elementwise(module: fx.GraphModule) -> int:
    """Rewrites each sum, difference, product and quotient with a constant a channel, and neg. Equal up to rounding; returns how many."""
    total = 0
    while True:  # a line is an integer operator, so that the next one in a chain may become one
        count = 0
        for node in list(module.graph.nodes):
            found = _line(module, node) if _is_float(node) and _touches_integers(node) else None
            if found is None:
                continue
            x, scale, shift = found
            with module.graph.inserting_before(node):
                made = line(module, node, x, scale, shift)
            substitute(module, node, made)
            count += 1
        total += count
        if not count:
            return total


def _line(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, torch.Tensor, torch.Tensor] | None:
    """The value that a node is a line of, with scale and shift of [C]; None where it is none."""
    if node.target is aten.neg.default:
        x: Any = node.args[0]
        found: Line = (-1.0, 0.0)
    elif node.target in RIGHT:
        x, constant, rule = _sides(node)
        if rule is None or not _is_float(x) or shape_of(x) != shape_of(node):
            return None
        found = rule(_value(module, constant))
    else:
        return None
    scale, shift = (_a_channel(part, shape_of(x)) for part in found)
    if scale is None or shift is None or not (scale.isfinite().all() and shift.isfinite().all()):
        return None
    return x, scale, shift


def _sides(node: fx.Node) -> tuple[Any, Any, Callable[[Any], Line] | None]:
    """The value, the constant, and the rule that makes a line of the constant (None where there is no constant)."""
    given = arguments(node)
    left, right = list(given.values())[:2]
    if given.get("alpha", 1) != 1:
        return left, right, None
    if isinstance(left, fx.Node) and not is_constant(left) and (not isinstance(right, fx.Node) or is_constant(right)):
        return left, right, RIGHT[node.target]
    if isinstance(right, fx.Node) and not is_constant(right) and (not isinstance(left, fx.Node) or is_constant(left)):
        return right, left, LEFT.get(node.target)
    return left, right, None


def _value(module: fx.GraphModule, constant: Any) -> torch.Tensor | float:
    return tensor_of(module, constant).double() if isinstance(constant, fx.Node) else float(constant)


def _a_channel(value: torch.Tensor | float, shape: tuple[int, ...]) -> torch.Tensor | None:
    """A number, or a tensor that is broadcast to `shape`, as one number a channel; None where it is not the same over a channel."""
    if not shape:
        return None
    channels = shape[1] if len(shape) > 1 else shape[0]
    if not isinstance(value, torch.Tensor) or value.numel() == 1:
        return torch.full((channels,), float(value))
    padded = value.reshape((1,) * (len(shape) - value.ndim) + tuple(value.shape))
    axis = 1 if len(shape) > 1 else 0
    if any(size != 1 for k, size in enumerate(padded.shape) if k != axis):
        return None
    return padded.flatten().float()


def _touches_integers(node: fx.Node) -> bool:
    """Whether a neighbour will be an integer operator; between two float ones a line would only cost conversions."""
    neighbours = [n for n in (*node.all_input_nodes, *node.users) if n.target in INTEGERS]
    return any(n.target not in RIGHT or _sides(n)[2] is None for n in neighbours)


def _is_float(node: Any) -> bool:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32
