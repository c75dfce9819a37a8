"""Clamps that int8 saturation implies anyway are removed from the quantized graph.

After a convolution whose output is quantized to a range inside the clamp's bounds, the clamp changes no value, but keeps ONNX Runtime
and LiteRT from fusing. The PT2E graph computes bit-identical outputs without it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten


def implied_clamp(module: fx.GraphModule) -> int:
    """Removes each relu, relu6, hardtanh or clamp whose only reader saturates at or inside its bounds. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        bounds = _bounds(node)
        if bounds is None or len(node.users) != 1 or len(node.args[0].users) != 1:
            continue
        quantize = next(iter(node.users))
        if quantize.target is torch.ops.quantized_decomposed.quantize_per_tensor.default and _implies(quantize, bounds):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
            count += 1
    return count


def _bounds(node: fx.Node) -> tuple[float, float] | None:
    if node.kwargs:
        return None
    if node.target is aten.relu.default:
        return 0.0, math.inf
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    if node.target in (aten.hardtanh.default, aten.clamp.default):
        default = (-1.0, 1.0) if node.target is aten.hardtanh.default else (-math.inf, math.inf)
        given: tuple[Any, ...] = (*node.args[1:3], None, None)
        low, high = (default[k] if given[k] is None else float(given[k]) for k in (0, 1))
        return low, high
    return None


def _implies(quantize: fx.Node, bounds: tuple[float, float]) -> bool:
    """Whether both bounds are quantized to the ends of the range: computed as the graph computes it, rounding included."""
    parameters = quantize.args[1:]
    ends = torch.ops.quantized_decomposed.quantize_per_tensor(torch.tensor(bounds), *parameters).tolist()
    return bool(ends == list(parameters[2:4]))
