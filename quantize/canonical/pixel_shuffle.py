"""pixel_shuffle and pixel_unshuffle become a permutation of five axes: no runtime has them as integer operators of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import call, reshaped, shape_of, substitute

aten = torch.ops.aten


def pixel_shuffle(module: fx.GraphModule) -> int:
    """Rewrites both. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target not in (aten.pixel_shuffle.default, aten.pixel_unshuffle.default) or len(shape_of(node)) != 4:
            continue
        source: Any = node.args[0]
        step = int(node.args[1])
        if node.target is aten.pixel_shuffle.default:
            batch, channels, height, width = shape_of(node)
            apart, order = (batch * channels, step, step, height // step, width // step), [0, 3, 1, 4, 2]
        else:
            batch, channels, height, width = shape_of(source)
            apart, order = (batch * channels, height // step, step, width // step, step), [0, 2, 4, 1, 3]
        with module.graph.inserting_before(node):
            x = reshaped(module, source, apart, module_of=node)
            shape = [apart[axis] for axis in order]
            turned = call(module, aten.permute.default, (x, order), like=x, shape=shape, module_of=node)
            made = reshaped(module, turned, shape_of(node), module_of=node)
        substitute(module, node, made)
        count += 1
    return count
