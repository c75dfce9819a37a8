"""Batch-norm that follows no convolution becomes a line a channel: a 1x1 depthwise convolution, which all three runtimes have in integers.

Left alone it is float in all of them, and makes convert_pt2e search for patterns for half a minute. Where it follows a convolution
that only it reads, PT2E folds it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import arguments, has_only_user, is_constant, substitute
from edgeds.quantize.canonical.line import line

aten = torch.ops.aten


def batch_norm(module: fx.GraphModule) -> int:
    """Rewrites each batch-norm but those that PT2E folds. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.batch_norm.default or _is_folded_by_pt2e(node):
            continue
        given = arguments(node)
        if given["training"] or not is_constant(given["running_mean"]) or not is_constant(given["running_var"]):
            continue
        scale, shift = _coefficients(module, given)
        with module.graph.inserting_before(node):
            made = line(module, node, given["input"], scale, shift)
        substitute(module, node, made)
        count += 1
    return count


def _is_folded_by_pt2e(node: fx.Node) -> bool:
    source: Any = node.args[0]
    return source.target is aten.conv2d.default and has_only_user(source)


def _coefficients(module: fx.GraphModule, given: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    mean, variance = (tensor_of(module, given[name]).double() for name in ("running_mean", "running_var"))
    weight = torch.ones_like(mean) if given["weight"] is None else tensor_of(module, given["weight"]).double()
    bias = torch.zeros_like(mean) if given["bias"] is None else tensor_of(module, given["bias"]).double()
    scale = weight / torch.sqrt(variance + given["eps"])
    return scale.float(), (bias - mean * scale).float()
