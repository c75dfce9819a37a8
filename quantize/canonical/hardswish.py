"""hardswish and hardsigmoid out of operators that all three runtimes have in integers.

ONNX Runtime has no integer hardswish, and LiteRT runs it undelegated. hardsigmoid(x) = clamp(x/6 + 1/2, 0, 1) is a 1x1 depthwise
convolution whose clamp costs nothing: it is implied by saturation of the int8 output. hardswish(x) = x · hardsigmoid(x).
After a convolution that only feeds it, hardsigmoid's scale and offset go into that convolution's weights and bias.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import add_tensor, call, has_only_user, tensor_of

aten = torch.ops.aten


def hardsigmoid_into_conv(module: fx.GraphModule) -> int:
    """conv → hardsigmoid becomes conv' → clamp(0, 1), conv' = conv / 6 + 1/2; a linear layer too. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.hardsigmoid.default or not _is_plain(node.args[0]):
            continue
        conv = node.args[0]
        weight = tensor_of(module, conv.args[1])
        bias = (
            tensor_of(module, conv.args[2])
            if len(conv.args) > 2 and conv.args[2] is not None
            else torch.zeros(len(weight))
        )
        with module.graph.inserting_before(conv):
            new_weight = add_tensor(module, "hardsigmoid_weight", weight / 6)
            new_bias = add_tensor(module, "hardsigmoid_bias", bias / 6 + 0.5)
        conv.args = (conv.args[0], new_weight, new_bias, *conv.args[3:])
        node.target, node.args = aten.hardtanh.default, (conv, 0.0, 1.0)
        count += 1
    return count


def hardsigmoid(module: fx.GraphModule) -> int:
    """Any other hardsigmoid of a [N, C, H, W] becomes a 1x1 depthwise convolution and clamp(0, 1); returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.hardsigmoid.default and len(node.meta["val"].shape) == 4:
            with module.graph.inserting_before(node):
                gate = _gate(module, node, node.args[0])
            node.replace_all_uses_with(gate)
            module.graph.erase_node(node)
            count += 1
    return count


def hardswish(module: fx.GraphModule) -> int:
    """hardswish of a [N, C, H, W] (or of [N, C], viewed as [N, C, 1, 1]) becomes x · hardsigmoid(x); returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        shape = tuple(node.meta["val"].shape) if node.target is aten.hardswish.default else ()
        if len(shape) not in (2, 4):
            continue
        with module.graph.inserting_before(node):
            x = node.args[0]
            if len(shape) == 2:
                x = call(module, aten.reshape.default, (x, [*shape, 1, 1]), like=node, shape=(*shape, 1, 1))
            product = call(module, aten.mul.Tensor, (x, _gate(module, node, x)), like=x)
            if len(shape) == 2:
                product = call(module, aten.reshape.default, (product, list(shape)), like=node)
        node.replace_all_uses_with(product)
        module.graph.erase_node(node)
        count += 1
    return count


def _gate(module: fx.GraphModule, node: fx.Node, x: fx.Node) -> fx.Node:
    channels = x.meta["val"].shape[1]
    weight = add_tensor(module, "gate_weight", torch.full((channels, 1, 1, 1), 1 / 6))
    bias = add_tensor(module, "gate_bias", torch.full((channels,), 0.5))
    args = (x, weight, bias, [1, 1], [0, 0], [1, 1], channels)
    line = call(module, aten.conv2d.default, args, like=x, module_of=node)
    return call(module, aten.hardtanh.default, (line, 0.0, 1.0), like=x, module_of=node)


def _is_plain(node: fx.Node) -> bool:
    if node.target not in (aten.conv2d.default, aten.linear.default) or not has_only_user(node) or node.kwargs:
        return False
    constants = [argument for argument in node.args[1:3] if argument is not None]
    return all(isinstance(constant, fx.Node) and constant.op == "get_attr" for constant in constants)
