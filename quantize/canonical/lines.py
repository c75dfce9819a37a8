"""A line a channel joins with the convolution or linear layer before or behind it, at no cost at run time.

conv → line: the line's scale and shift go into the weights' rows and the bias. line → conv: its scale goes into the weights' columns,
its shift into the bias, where no zero padding comes between. line → line is one line.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import arguments, has_only_user, shape_of, substitute
from edgeds.quantize.canonical.line import coefficients, has_constant_weights, set_weights

aten = torch.ops.aten
LAYERS = {aten.conv1d.default, aten.conv2d.default, aten.linear.default}
TRANSPOSED = aten.conv_transpose2d.input  # its weight is [inputs, outputs of a group, ...]


def lines_into_layers_before(module: fx.GraphModule) -> int:
    """conv → line becomes conv'; a linear layer too. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        found = coefficients(module, node)
        layer = _layer_before(node) if found is not None else None
        if found is None or layer is None:
            continue
        scale, shift = found
        weight, bias = _weights(module, layer)
        bias = torch.zeros_like(scale) if bias is None else bias
        set_weights(module, layer, _scaled_outputs(weight, scale, layer), bias * scale + shift)
        substitute(module, node, node.args[0])
        count += 1
    return count


def lines_into_layers_behind(module: fx.GraphModule) -> int:
    """line → conv without padding (or a line without shift) becomes conv'; a linear layer too. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        found = coefficients(module, node)
        layer = _layer_behind(node, shifts=bool(found[1].any())) if found is not None else None
        if found is None or layer is None:
            continue
        scale, shift = found
        weight, bias = _weights(module, layer)
        bias = torch.zeros(len(weight)) if bias is None else bias
        groups = arguments(layer).get("groups", 1)
        inputs = weight.shape[1]  # of one group
        columns = (len(weight) // groups, 1)
        a, b = (part.reshape(groups, inputs).repeat_interleave(columns[0], 0) for part in (scale, shift))
        shape = (len(weight), inputs, *[1] * (weight.ndim - 2))
        offset = (weight.double() * b.double().reshape(shape)).flatten(1).sum(1)
        set_weights(module, layer, weight * a.reshape(shape), (bias + offset).float())
        substitute(module, node, node.args[0])
        count += 1
    return count


def _weights(module: fx.GraphModule, layer: fx.Node) -> tuple[torch.Tensor, torch.Tensor | None]:
    given = arguments(layer)
    bias = None if given["bias"] is None else tensor_of(module, given["bias"])
    return tensor_of(module, given["weight"]), bias


def _scaled_outputs(weight: torch.Tensor, scale: torch.Tensor, layer: fx.Node) -> torch.Tensor:
    if layer.target is not TRANSPOSED:
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    groups = arguments(layer)["groups"]
    apart = weight.reshape(groups, -1, *weight.shape[1:])
    return (apart * scale.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)


def _layer_before(node: fx.Node) -> fx.Node | None:
    """The layer whose output only this line reads, perhaps through a reshape that keeps the channels."""
    source: Any = node.args[0]
    while source.target is aten.reshape.default and has_only_user(source) and _keeps_channels(source):
        source = source.args[0]
    is_layer = source.target in {*LAYERS, TRANSPOSED} and has_only_user(source) and has_constant_weights(source)
    return source if is_layer and _has_channels_on_axis_1(source, source) else None


def _layer_behind(node: fx.Node, shifts: bool) -> fx.Node | None:
    """The layer that alone reads this line, perhaps through a reshape, where zeros that it pads with do not matter."""
    reader = node
    while has_only_user(reader):
        source, reader = reader, next(iter(reader.users))
        if reader.target is aten.reshape.default and _keeps_channels(reader):
            continue
        if reader.target not in LAYERS or reader.args[0] is not source or not has_constant_weights(reader):
            return None
        padding = arguments(reader).get("padding", [0])
        is_exact = not shifts or (not isinstance(padding, str) and not any(padding))
        return reader if is_exact and _has_channels_on_axis_1(reader, source) else None
    return None


def _keeps_channels(reshape: fx.Node) -> bool:
    source: Any = reshape.args[0]
    return shape_of(reshape)[:2] == shape_of(source)[:2]


def _has_channels_on_axis_1(layer: fx.Node, value: fx.Node) -> bool:
    """A linear layer's channels are on its last axis: that is axis 1 for [N, C] only."""
    return layer.target is not aten.linear.default or len(shape_of(value)) == 2
