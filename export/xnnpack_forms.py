"""Functions of the quantized graph in the form that suits XNNPACK: the same int8 tensors around them, other operators inside."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import fx

from edgeds.program import tensor_of

aten = torch.ops.aten
decomposed = torch.ops.quantized_decomposed

QUANTIZE = decomposed.quantize_per_tensor.default
DEQUANTIZE = decomposed.dequantize_per_tensor.default


def own_hardswish(module: fx.GraphModule) -> int:
    """x · clamp(x/6 + 1/2, 0, 1) becomes hardswish(x), which XNNPACK looks up in a table; at most a step apart. Returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        x = _swished(module, node) if node.target is aten.mul.Tensor else None
        if x is not None:
            with module.graph.inserting_before(node):
                swish = module.graph.call_function(aten.hardswish.default, (x,))
            node.replace_all_uses_with(swish)
            count += 1
    _tidy(module)
    return count


def _tidy(module: fx.GraphModule) -> None:
    module.graph.eliminate_dead_code()
    module.recompile()


def _swished(module: fx.GraphModule, product: fx.Node) -> fx.Node | None:
    """The dequantized x of a product x · gate(x); None where the product is another one."""
    for x, gate in (product.args, product.args[::-1]):
        line = _behind_quantization(gate)
        if line is not None and line.target in (aten.hardtanh.default, aten.clamp.default):
            line = line.args[0]
        if line is None or line.target is not aten.conv2d.default or not _is_ramp(module, line):
            continue
        source: Any = line.args[0]
        if isinstance(x, fx.Node) and x.target is source.target is DEQUANTIZE and x.args == source.args:
            return x
    return None


def _behind_quantization(node: Any) -> Any:
    for target in (DEQUANTIZE, QUANTIZE):
        if not isinstance(node, fx.Node) or node.target is not target:
            return None
        node = node.args[0]
    return node


def _is_ramp(module: fx.GraphModule, conv: fx.Node) -> bool:
    """Whether a convolution computes x/6 + 1/2 for each element."""
    arguments: tuple[Any, ...] = (*conv.args, *(None,) * 7)
    weight, bias, groups = arguments[1], arguments[2], arguments[6]
    if not isinstance(bias, fx.Node) or bias.op != "get_attr" or not isinstance(weight, fx.Node):
        return False
    if weight.target is not decomposed.dequantize_per_channel.default or any(
        x.op != "get_attr" for x in weight.all_input_nodes
    ):
        return False
    values, scales = (tensor_of(module, argument) for argument in weight.args[:2])
    if values.shape != (groups, 1, 1, 1):
        return False
    return _is_all(values.flatten() * scales, 1 / 6) and _is_all(tensor_of(module, bias), 1 / 2)


def _is_all(values: torch.Tensor, number: float) -> bool:
    return bool(((values - number).abs() < 1e-5).all())
