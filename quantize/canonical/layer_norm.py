"""A layer norm's weight and bias go into the layer behind it: one float operator less a norm in XNNPACK and LiteRT, two where it has a bias."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import arguments, has_only_user, is_constant, shape_of
from edgeds.quantize.canonical.line import has_constant_weights, set_weights

aten = torch.ops.aten


def layer_norm(module: fx.GraphModule) -> int:
    """norm → (reshape →) linear, and norm → permute → convolution without padding. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        layer = _layer_behind(node) if node.target is aten.layer_norm.default else None
        given = arguments(node) if layer is not None else {}
        if layer is None or len(given["normalized_shape"]) != 1 or not is_constant(given["weight"]):
            continue
        scale = tensor_of(module, given["weight"])
        shift = torch.zeros_like(scale) if given["bias"] is None else tensor_of(module, given["bias"])
        of_layer = arguments(layer)
        weight = tensor_of(module, of_layer["weight"])
        bias = torch.zeros(len(weight)) if of_layer["bias"] is None else tensor_of(module, of_layer["bias"])
        shape = (1, -1, *[1] * (weight.ndim - 2))
        offset = (weight.double() * shift.double().reshape(shape)).flatten(1).sum(1)
        set_weights(module, layer, weight * scale.reshape(shape), (bias + offset).float())
        node.args, node.kwargs = (given["input"], given["normalized_shape"], None, None, given["eps"]), {}
        count += 1
    return count


def _layer_behind(node: fx.Node) -> fx.Node | None:
    """The layer that alone reads a norm's channels, where zeros that it pads with do not matter."""
    source, reader = node, _only_reader(node)
    while reader is not None and reader.target is aten.reshape.default and shape_of(reader)[-1:] == shape_of(node)[-1:]:
        source, reader = reader, _only_reader(reader)
    if reader is None or reader.target is not aten.permute.default:
        is_layer = reader is not None and reader.target is aten.linear.default and has_constant_weights(reader)
        return reader if is_layer and reader.args[0] is source else None
    if list(reader.args[1]) != [0, 3, 1, 2] or not has_only_user(reader):
        return None
    layer: Any = _only_reader(reader)
    if layer.target is not aten.conv2d.default or layer.args[0] is not reader or not has_constant_weights(layer):
        return None
    given = arguments(layer)
    return layer if given["groups"] == 1 and not any(given["padding"]) else None


def _only_reader(node: fx.Node) -> Any:
    return next(iter(node.users)) if has_only_user(node) else None
