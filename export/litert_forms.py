"""Functions of the quantized graph in the form that suits LiteRT: the same int8 tensors around them, other operators inside."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import fx

aten = torch.ops.aten
decomposed = torch.ops.quantized_decomposed

QUANTIZE = decomposed.quantize_per_tensor.default
DEQUANTIZE = decomposed.dequantize_per_tensor.default

COMPARISONS = {
    getattr(packet, overload)
    for packet in (aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne)
    for overload in ("Scalar", "Tensor")
}


def exact_comparisons(module: fx.GraphModule) -> int:
    """Comparisons of quantized values compare floats: 2 a with 2 c for a number c, a - b with 0 for two values. Exact; returns how many.

    LiteRT compares int8 values as multiples of 1/256, rounded, and the converter gives a number a scale of its own: what lies within a
    step of the number would get the wrong answer. A product or difference that nothing quantizes keeps the converter from it.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target not in COMPARISONS:
            continue
        a, b = node.args
        if not any(isinstance(side, fx.Node) and side.target is DEQUANTIZE for side in (a, b)):
            continue
        with module.graph.inserting_before(node):
            if isinstance(b, fx.Node):
                node.args = (module.graph.call_function(aten.sub.Tensor, (a, b)), 0.0)
                node.target = getattr(aten, node.target.overloadpacket.__name__).Scalar
            else:
                node.args = (module.graph.call_function(aten.mul.Tensor, (a, 2.0)), 2.0 * b)
        count += 1
    module.recompile()
    return count


def lone_clamp(module: fx.GraphModule) -> int:
    """A clamp of an int8 tensor becomes maximum and minimum with int8 numbers: the same values. Returns how many.

    LiteRT has no delegate for an int8 RELU that stands alone, and its reference kernel takes 10 ns an element. (A clamp behind a convolution
    or a sum is fused into it, and stays.)
    """
    count = 0
    for node in list(module.graph.nodes):
        bounds = _bounds(node)
        if bounds is None or not _keeps_scale(node):
            continue
        value: Any = node.args[0]
        with module.graph.inserting_before(node):
            for bound, operator in zip(bounds, (aten.maximum.default, aten.minimum.default), strict=True):
                if math.isfinite(bound):
                    value = value if value is node.args[0] else _requantized(module, node, value)
                    value = module.graph.call_function(operator, (value, _number(module, node, bound)))
        node.replace_all_uses_with(value)
        module.graph.erase_node(node)
        count += 1
    module.recompile()
    return count


def _bounds(node: fx.Node) -> tuple[float, float] | None:
    arguments: tuple[Any, ...] = (*node.args, None, None)
    if node.target is aten.relu.default:
        return 0.0, math.inf
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    if node.target in (aten.hardtanh.default, aten.clamp.default):
        low, high = arguments[1:3]
        default = (-1.0, 1.0) if node.target is aten.hardtanh.default else (-math.inf, math.inf)
        return default[0] if low is None else float(low), default[1] if high is None else float(high)
    return None


def _keeps_scale(node: fx.Node) -> bool:
    """Whether a clamp's input and output are int8 tensors of one scale and zero point."""
    source = node.args[0]
    users = list(node.users)
    if not isinstance(source, fx.Node) or source.target is not DEQUANTIZE or not users:
        return False
    return all(user.target is QUANTIZE and user.args[1:] == source.args[1:6] for user in users)


def _number(module: fx.GraphModule, clamp: fx.Node, number: float) -> fx.Node:
    name = f"{clamp.name}_bound_{len(list(module.buffers()))}"
    module.register_buffer(name, torch.tensor([number]))
    return _requantized(module, clamp, module.graph.get_attr(name))


def _requantized(module: fx.GraphModule, clamp: fx.Node, value: fx.Node) -> fx.Node:
    """Quantized as the clamp's input is, and dequantized again."""
    parameters = clamp.args[0].args[1:6]  # type: ignore[union-attr]  # a dequantize, see _keeps_scale
    quantized = module.graph.call_function(QUANTIZE, (value, *parameters))
    return module.graph.call_function(DEQUANTIZE, (quantized, *parameters))
