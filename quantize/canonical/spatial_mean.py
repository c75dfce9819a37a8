"""Every way to write a mean over the image becomes one: mean over (2, 3) that keeps them, then a reshape where they were dropped.

Without the kept axes the mean splits XNNPACK's delegate in two, and ONNX Runtime has no integer kernel for it.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import call, is_spatial_mean

aten = torch.ops.aten


def spatial_mean(module: fx.GraphModule) -> int:
    """Rewrites adaptive_avg_pool2d to 1x1 and mean without keepdim. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        pool = node.target is aten.adaptive_avg_pool2d.default and _is_one_by_one(node)
        drops = is_spatial_mean(node) and tuple(node.meta["val"].shape) != (*node.args[0].meta["val"].shape[:2], 1, 1)
        if not pool and not drops:
            continue
        shape = (*node.args[0].meta["val"].shape[:2], 1, 1)
        with module.graph.inserting_before(node):
            mean = call(module, aten.mean.dim, (node.args[0], [2, 3], True), like=node, shape=shape)
            if drops:
                mean = call(module, aten.reshape.default, (mean, list(shape[:2])), like=node)
        node.replace_all_uses_with(mean)
        module.graph.erase_node(node)
        count += 1
    return count


def _is_one_by_one(node: fx.Node) -> bool:
    size = node.args[1]
    return (list(size) if isinstance(size, list | tuple) else [size, size]) == [1, 1] and node.meta["val"].ndim == 4
