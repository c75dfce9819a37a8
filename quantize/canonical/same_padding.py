"""conv2d with padding="same" or "valid" becomes the conv2d with numbers that quantization and the converters know."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import call

aten = torch.ops.aten


def same_padding(module: fx.GraphModule) -> int:
    """Rewrites conv2d.padding to (pad and) conv2d: an odd padding's rest comes at the end. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.conv2d.padding or node.kwargs:
            continue
        defaults = (None, [1, 1], "valid", [1, 1], 1)
        arguments: tuple[Any, ...] = (*node.args, *defaults[len(node.args) - 2 :])
        x, weight, bias, stride, padding, dilation, groups = arguments
        total = [0, 0]
        if padding == "same":
            steps = [*dilation, *dilation][:2]
            total = [step * (size - 1) for step, size in zip(steps, weight.meta["val"].shape[2:], strict=True)]
        before = [amount // 2 for amount in total]
        if any(amount % 2 for amount in total):
            x = _padded(module, node, x, before, total)
            before = [0, 0]
        node.target, node.args = aten.conv2d.default, (x, weight, bias, stride, before, dilation, groups)
        count += 1
    return count


def _padded(module: fx.GraphModule, node: fx.Node, x: fx.Node, before: list[int], total: list[int]) -> fx.Node:
    (top, left), (height, width) = before, total
    rows, columns = x.meta["val"].shape[2:]
    with module.graph.inserting_before(node):
        amounts = [left, width - left, top, height - top]
        shape = (*x.meta["val"].shape[:2], rows + height, columns + width)
        return call(module, aten.constant_pad_nd.default, (x, amounts, 0.0), like=x, shape=shape, module_of=node)
