"""split, chunk, tensor_split, unbind and select become slices, the one way to take a part that all three runtimes have in integers.

XNNPACK has no split: each one ends the delegate. ONNX Runtime runs an int8 Split in float.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments, call, reshaped, shape_of, substitute

aten = torch.ops.aten
SPLITS = {
    aten.split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.tensor_split.sections,
    aten.tensor_split.indices,
    aten.hsplit.int,
    aten.vsplit.int,
    aten.unbind.int,
}


def split(module: fx.GraphModule) -> int:
    """Rewrites every split, select and narrow to slices, and slices to a plain form. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in SPLITS:
            _split(module, node)
        elif node.target is aten.select.int:
            given = arguments(node)
            with module.graph.inserting_before(node):
                part = _part(module, node, given["self"], given["dim"], given["index"], 1)
            substitute(module, node, part)
        elif node.target is aten.narrow.default:
            given = arguments(node)
            with module.graph.inserting_before(node):
                part = _part(module, node, given["self"], given["dim"], given["start"], given["length"])
            substitute(module, node, part)
        elif node.target is not aten.slice.Tensor or not _plain(node):
            continue
        count += 1
    return count


def slice_of_reshape(module: fx.GraphModule) -> int:
    """A part of an axis that a reshape has just split off is a part of the axis before: a slice without detour. Exact; returns how many.

    [N, g·c, ...] → [N, g, c, ...] → unbind is how grouped channels are mostly written.
    """
    count = 0
    for node in list(module.graph.nodes):
        view: Any = node.args[0] if node.target is aten.slice.Tensor else None
        if view is None or view.target is not aten.reshape.default:
            continue
        given, x = arguments(node), view.args[0]
        axis, shape = given["dim"] % len(shape_of(view)), shape_of(view)
        joined = (*shape[:axis], prod(shape[axis : axis + 2]), *shape[axis + 2 :])
        if given["step"] != 1 or len(shape) < axis + 2 or shape_of(x) != joined:
            continue
        start, length = (given["start"] or 0) % shape[axis], shape_of(node)[axis]
        wanted = [*joined[:axis], length * shape[axis + 1], *joined[axis + 1 :]]
        bounds = [number * shape[axis + 1] for number in (start, start + length)]
        with module.graph.inserting_before(node):
            part = call(module, aten.slice.Tensor, (x, axis, *bounds), like=x, shape=wanted, module_of=node)
            part = reshaped(module, part, shape_of(node), module_of=node)
        substitute(module, node, part)
        count += 1
    return count


def lengths(node: fx.Node) -> tuple[int, list[int]]:
    """The axis that a split cuts, and the length of each part on it."""
    source: Any = node.args[0]
    axis = _axis(node) % len(shape_of(source))
    return axis, [1 if node.target is aten.unbind.int else value.shape[axis] for value in node.meta["val"]]


def _split(module: fx.GraphModule, node: fx.Node) -> None:
    source: Any = node.args[0]
    axis, sizes = lengths(node)
    for item in list(node.users):
        index = int(item.args[1])  # type: ignore[arg-type]  # a getitem
        with module.graph.inserting_before(item):
            part = _part(module, item, source, axis, sum(sizes[:index]), sizes[index])
        substitute(module, item, part)
    module.graph.erase_node(node)


def _plain(node: fx.Node) -> bool:
    """Writes a slice's axis and bounds as x[:, 4:8] does, not as x[:, -4:]: two that are one look alike then. Whether that changed it."""
    given, before = arguments(node), node.args
    shape = shape_of(given["self"])
    axis = given["dim"] % len(shape)
    start, end, _ = slice(given["start"], given["end"], given["step"]).indices(shape[axis])
    step = () if given["step"] == 1 else (given["step"],)
    node.args, node.kwargs = (given["self"], axis, start, end, *step), {}
    return node.args != before


def _axis(node: fx.Node) -> int:
    if node.target in (aten.hsplit.int, aten.vsplit.int):
        source: Any = node.args[0]
        return min(1, len(shape_of(source)) - 1) if node.target is aten.hsplit.int else 0
    return int(arguments(node)["dim"])


def _part(module: fx.GraphModule, node: fx.Node, x: fx.Node, axis: int, start: int, length: int) -> fx.Node:
    """`node`'s value as a slice of `x`, without the sliced axis where `node` drops it."""
    shape = list(shape_of(x))
    axis %= len(shape)
    start %= max(shape[axis], 1)
    full = (start, length) == (0, shape[axis])
    shape[axis] = length
    arguments = (x, axis, start, start + length)
    part = x if full else call(module, aten.slice.Tensor, arguments, like=x, shape=shape, module_of=node)
    return reshaped(module, part, shape_of(node), module_of=node)
