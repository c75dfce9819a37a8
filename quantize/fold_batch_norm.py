"""Batch-norm becomes part of the convolution before it, as prepare_pt2e does it too, and leaves a note of what it knew.

A channel's shift and scale say how far it may reach, also where no calibration sample makes it fire (see edgeds.quantize.reach).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import arguments, has_only_user, is_constant, substitute
from edgeds.quantize.weighted import put_bias, put_tensor

aten = torch.ops.aten
# In the meta of a convolution: the mean and the standard deviation of each output channel over the training set, float32 [C] each.
NORM = "edgeds_norm"


def fold_batch_norm(module: fx.GraphModule) -> int:
    """Folds each batch-norm behind a convolution that only it reads. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.batch_norm.default and _follows_convolution(node):
            _fold(module, node, arguments(node))
            count += 1
    module.graph.eliminate_dead_code()
    module.recompile()
    return count


def _follows_convolution(node: fx.Node) -> bool:
    source: Any = node.args[0]
    given = arguments(node)
    constants = (given["running_mean"], given["running_var"])
    return (
        source.target is aten.conv2d.default
        and has_only_user(source)
        and is_constant(source.args[1])
        and not given["training"]
        and all(map(is_constant, constants))
    )


def _fold(module: fx.GraphModule, node: fx.Node, given: dict[str, Any]) -> None:
    """(w*x + b - mean) / deviation · scale + shift, with the convolution's own weights and bias."""
    convolution = given["input"]
    mean, variance = (tensor_of(module, given[name]).double() for name in ("running_mean", "running_var"))
    scale = torch.ones_like(mean) if given["weight"] is None else tensor_of(module, given["weight"]).double()
    shift = torch.zeros_like(mean) if given["bias"] is None else tensor_of(module, given["bias"]).double()
    factor = scale / torch.sqrt(variance + given["eps"])
    weight = tensor_of(module, convolution.args[1])
    bias = arguments(convolution)["bias"]
    before = torch.zeros_like(mean) if bias is None else tensor_of(module, bias).double()
    put_tensor(module, convolution.args[1], (weight * factor.view(-1, *[1] * (weight.ndim - 1))).float())
    put_bias(module, convolution, ((before - mean) * factor + shift).float())
    convolution.meta[NORM] = (shift.float(), scale.abs().float())
    substitute(module, node, convolution)
