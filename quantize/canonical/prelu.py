"""prelu out of operators that all three runtimes have in integers.

With one slope for all channels it is leaky_relu, for which each has an int8 table. With a slope a channel it is the sum of two 1x1 depthwise
convolutions, whose clamps saturation implies: prelu(x) = max(x, 0) + min(slope · x, 0).
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor, call

aten = torch.ops.aten


def prelu(module: fx.GraphModule) -> int:
    """Rewrites prelu of one slope, and of one a channel for [N, C, H, W] where none is negative. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.prelu.default or node.args[1].op != "get_attr":
            continue
        x, slope = node.args[0], tensor_of(module, node.args[1])
        if bool((slope == slope[0]).all()):
            node.target, node.args = aten.leaky_relu.default, (x, float(slope[0]))
            count += 1
        elif node.meta["val"].ndim == 4 and bool((slope >= 0).all()):
            with module.graph.inserting_before(node):
                positive = call(
                    module, aten.relu.default, (_scaled(module, node, x, torch.ones_like(slope)),), like=node
                )
                negative = (_scaled(module, node, x, slope), None, 0.0)
                both = (positive, call(module, aten.clamp.default, negative, like=node))
                value = call(module, aten.add.Tensor, both, like=node)
            node.replace_all_uses_with(value)
            module.graph.erase_node(node)
            count += 1
    return count


def _scaled(module: fx.GraphModule, node: fx.Node, x: fx.Node, scale: torch.Tensor) -> fx.Node:
    weight = add_tensor(module, "prelu_weight", scale.reshape(-1, 1, 1, 1))
    return call(module, aten.conv2d.default, (x, weight, None, [1, 1], [0, 0], [1, 1], len(scale)), like=node)
