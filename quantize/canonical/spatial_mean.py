"""Every mean becomes one that all three runtimes have in integers: over (2, 3) of an image, which it keeps; a reshape drops them.

Without the kept axes the mean splits XNNPACK's delegate in two, and ONNX Runtime has no integer kernel for it. A mean over other axes
is the same mean of another view; over channels it is a 1x1 convolution with equal weights.
"""

from __future__ import annotations

from math import prod

import torch
from torch import fx

from edgeds.quantize.canonical.edit import add_tensor, arguments, call, is_spatial_mean, reshaped, shape_of, substitute

aten = torch.ops.aten


def spatial_mean(module: fx.GraphModule) -> int:
    """Rewrites adaptive_avg_pool2d to 1x1 and every mean that is not in that form. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        axes = _axes(node)
        if not axes or _is_canonical(node):
            continue
        with module.graph.inserting_before(node):
            made = _channel_mean(module, node) if axes == [1] and _is_image(node) else _mean(module, node, axes)
            made = reshaped(module, made, shape_of(node), module_of=node)
        substitute(module, node, made)
        count += 1
    return count


def mean_of_image(module: fx.GraphModule) -> int:
    """The mean of an image's flattened pixels is the mean of the image: a reshape less. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        view = node.args[0] if is_spatial_mean(node) else None
        if not isinstance(view, fx.Node) or view.target is not aten.reshape.default:
            continue
        source = view.args[0]
        if isinstance(source, fx.Node) and len(shape_of(source)) == 4 and shape_of(source)[:2] == shape_of(view)[:2]:
            node.replace_input_with(view, source)
            count += 1
    return count


def _axes(node: fx.Node) -> list[int]:
    """The axes that a node is the mean over, sorted; none where it is another operator, or the mean over the batch."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return []
    rank = len(shape_of(node.args[0]))
    if node.target in (aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool1d.default):
        axes = list(range(-2 if node.target is aten.adaptive_avg_pool2d.default else -1, 0))
        one = all(shape_of(node)[axis] == 1 for axis in axes)
        return sorted(axis % rank for axis in axes) if one and rank == 2 + len(axes) else []
    if node.target is not aten.mean.dim or arguments(node)["dtype"] is not None or not arguments(node)["dim"]:
        return []
    found = sorted(axis % rank for axis in arguments(node)["dim"])
    return found if found[0] > 0 else []


def _is_canonical(node: fx.Node) -> bool:
    return is_spatial_mean(node) and len(shape_of(node)) == 4


def _is_image(node: fx.Node) -> bool:
    return len(shape_of(node.args[0])) == 4  # type: ignore[arg-type]


def _mean(module: fx.GraphModule, node: fx.Node, axes: list[int]) -> fx.Node:
    """The other axes come first, all but the batch as channels; those of the mean become height and width."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    shape = shape_of(source)
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    order = [*rest, *axes]
    moved = source
    if order != sorted(order):
        new = [shape[axis] for axis in order]
        moved = call(module, aten.permute.default, (source, order), like=source, shape=new, module_of=node)
    kept = [shape[axis] for axis in axes]
    image = (shape[0], prod(shape[axis] for axis in rest[1:]), *((1, *kept) if len(kept) < 2 else kept))
    image = (*image[:3], prod(image[3:]))
    x = reshaped(module, moved, image, module_of=node)
    return call(module, aten.mean.dim, (x, [2, 3], True), like=x, shape=(*image[:2], 1, 1), module_of=node)


def _channel_mean(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    x = node.args[0]
    assert isinstance(x, fx.Node)
    batch, channels, *sizes = shape_of(x)
    weight = add_tensor(module, "channel_mean", torch.full((1, channels, 1, 1), 1 / channels))
    return call(module, aten.conv2d.default, (x, weight), like=x, shape=(batch, 1, *sizes), module_of=node)
