"""Every way to write a clamp becomes relu, relu6, hardtanh or clamp, which quantization knows and joins with what computes its input."""

from __future__ import annotations

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import arguments, is_constant, shape_of

aten = torch.ops.aten
CLAMPS = {
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
    aten.clip.default,
    aten.threshold.default,
}


def plain_clamp(module: fx.GraphModule) -> int:
    """Rewrites clamp_min, clamp_max, clip, threshold at 0, and minimum or maximum with a number. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        bounds = _bounds(module, node)
        if bounds is None:
            continue
        x, low, high = bounds
        is_relu = low == 0 and high is None
        node.target = aten.relu.default if is_relu else aten.clamp.default
        node.args, node.kwargs = (x,) if is_relu else (x, low, high), {}
        count += 1
    return count


def _bounds(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, float | None, float | None] | None:
    """The value that a node clamps and its bounds; None where it does not clamp, or is written plainly already."""
    target = node.target
    if target in (aten.minimum.default, aten.maximum.default):
        return _with_number(module, node)
    if target not in CLAMPS:
        return None
    given = arguments(node)
    if target is aten.threshold.default:
        return (given["self"], 0.0, None) if given["threshold"] == given["value"] == 0 else None
    low, high = (None if given.get(name) is None else float(given[name]) for name in ("min", "max"))
    is_plain = target is aten.clamp.default and not node.kwargs and (low, high) != (0, None)
    return None if is_plain else (given["self"], low, high)


def _with_number(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, float | None, float | None] | None:
    """What a minimum or maximum with a number clamps, and its bounds."""
    for x, other in (node.all_input_nodes, node.all_input_nodes[::-1]) if len(node.all_input_nodes) == 2 else ():
        if is_constant(other) and other.meta["val"].numel() == 1 and shape_of(x) == shape_of(node):
            number = float(tensor_of(module, other))
            return (x, None, number) if node.target is aten.minimum.default else (x, number, None)
    return None
