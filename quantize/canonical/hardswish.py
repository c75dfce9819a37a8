"""hardswish and hardsigmoid out of operators that all three runtimes have in integers.

ONNX Runtime has no integer hardswish, and LiteRT runs it undelegated. hardsigmoid(x) = clamp(x/6 + 1/2, 0, 1) is a line, see line.py:
a 1x1 depthwise convolution that joins with a convolution before it, and whose clamp costs nothing, for it is implied by saturation
of the int8 output. hardswish(x) = x · hardsigmoid(x); an exporter may still pick its runtime's own operator: see export/forms.py.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import call, shape_of, substitute
from edgeds.quantize.canonical.line import image_shape, line

aten = torch.ops.aten


def hardsigmoid(module: fx.GraphModule) -> int:
    """hardsigmoid(x) becomes clamp(x/6 + 1/2, 0, 1). Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.hardsigmoid.default:
            with module.graph.inserting_before(node):
                gate = _gate(module, node)
            substitute(module, node, gate)
            count += 1
    return count


def hardswish(module: fx.GraphModule) -> int:
    """hardswish(x) becomes x · clamp(x/6 + 1/2, 0, 1). Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.hardswish.default:
            with module.graph.inserting_before(node):
                product = call(module, aten.mul.Tensor, (node.args[0], _gate(module, node)), like=node)
            substitute(module, node, product)
            count += 1
    return count


def _gate(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    channels = image_shape(shape_of(node))[1]
    x: fx.Node = node.args[0]  # type: ignore[assignment]  # an activation's input is a value
    ramp = line(module, node, x, torch.full((channels,), 1 / 6), torch.full((channels,), 0.5))
    return call(module, aten.hardtanh.default, (ramp, 0.0, 1.0), like=node)
