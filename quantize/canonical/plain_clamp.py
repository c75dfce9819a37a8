"""Every way to write a clamp becomes relu, relu6, hardtanh or clamp, which quantization knows and joins with what computes its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import tensor_of

aten = torch.ops.aten


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
    if target is aten.threshold.default and node.args[1:] == (0, 0):
        return node.args[0], 0.0, None
    if target is aten.clamp_min.default:
        return node.args[0], _argument(node, 1, "min"), None
    if target is aten.clamp_max.default:
        return node.args[0], None, _argument(node, 1, "max")
    if target in (aten.clip.default, aten.clamp.default):
        low, high = _argument(node, 1, "min"), _argument(node, 2, "max")
        plain = target is aten.clamp.default and not node.kwargs and (low, high) != (0, None)
        return None if plain else (node.args[0], low, high)
    return None


def _argument(node: fx.Node, position: int, name: str) -> float | None:
    value: Any = node.args[position] if len(node.args) > position else node.kwargs.get(name)
    return None if value is None else float(value)


def _with_number(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, float | None, float | None] | None:
    """What a minimum or maximum with a number clamps, and its bounds."""
    for x, other in (node.args, node.args[::-1]):
        if other.op == "get_attr" and other.meta["val"].numel() == 1 and x.meta["val"].shape == node.meta["val"].shape:
            number = float(tensor_of(module, other))
            return (x, None, number) if node.target is aten.minimum.default else (x, number, None)
    return None
