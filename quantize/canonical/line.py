"""A line a channel, y = a · x + b: the 1x1 depthwise convolution that all three runtimes have in integers, and its inverse.

Batch-norm that follows no convolution, scalars, layer scale and the normalization of inputs all are such lines. As convolutions
they can be joined with the convolutions around them, which costs nothing at run time: see lines.py.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor, arguments, call, is_constant, reshaped, shape_of

aten = torch.ops.aten


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The [N, C, H, W] that a value of this shape is taken for: [N, C] is [N, C, 1, 1], [N, C, ...] is [N, C, 1, ...]."""
    if len(shape) == 4:
        return shape
    padded = shape if len(shape) > 1 else (1, 1, *shape)
    return (*padded[:2], 1, prod(padded[2:]))


def line(module: fx.GraphModule, node: fx.Node, x: fx.Node, scale: torch.Tensor, shift: torch.Tensor) -> fx.Node:
    """scale · x + shift, both of [C], for an `x` of any rank with channels on axis 1; it belongs to `node`'s module."""
    shape = image_shape(shape_of(x))
    image = reshaped(module, x, shape, module_of=node)
    weight = add_tensor(module, "line_weight", scale.reshape(-1, 1, 1, 1).clone())
    bias = add_tensor(module, "line_bias", shift.reshape(-1).clone())
    args = (image, weight, bias, [1, 1], [0, 0], [1, 1], shape[1])
    made = call(module, aten.conv2d.default, args, like=image, module_of=node)
    return reshaped(module, made, shape_of(x), module_of=node)


def coefficients(module: fx.GraphModule, node: fx.Node) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A line's scale and shift; None where the node is another operator."""
    if node.op != "call_function" or node.target is not aten.conv2d.default or not has_constant_weights(node):
        return None
    given = arguments(node)
    channels = shape_of(given["input"])[1]
    if shape_of(given["weight"]) != (channels, 1, 1, 1) or given["groups"] != channels:
        return None
    if any(step != 1 for step in given["stride"]) or any(given["padding"]):
        return None
    scale = tensor_of(module, given["weight"]).flatten()
    return scale, torch.zeros_like(scale) if given["bias"] is None else tensor_of(module, given["bias"])


def has_constant_weights(node: fx.Node) -> bool:
    """Whether weight and bias of a convolution or linear layer are tensors of the model."""
    bias = arguments(node)["bias"]
    return is_constant(node.args[1]) and (bias is None or is_constant(bias))


def set_weights(module: fx.GraphModule, node: fx.Node, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Gives a convolution or linear layer weights of its own."""
    given: list[Any] = list(arguments(node).values())
    with module.graph.inserting_before(node):
        given[1] = add_tensor(module, "joined_weight", weight)
        given[2] = add_tensor(module, "joined_bias", bias)
    node.args, node.kwargs = tuple(given), {}
