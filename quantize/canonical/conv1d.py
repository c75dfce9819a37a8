"""One-dimensional operators become two-dimensional ones with a height of 1, the only convolutions that all three runtimes have in integers.

[N, C, L] becomes [N, C, 1, L] before each of them and again [N, C, L] behind; reshapes between two of them cancel out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor, arguments, call, is_constant, reshaped, shape_of, substitute
from edgeds.quantize.canonical.pointwise import POINTWISE

aten = torch.ops.aten


def conv1d(module: fx.GraphModule) -> int:
    """Rewrites conv1d, max_pool1d, avg_pool1d and the pointwise operators between them. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        rule = RULES.get(node.target) if node.op == "call_function" else None
        x = next(iter(node.all_input_nodes), None)
        if rule is None or not isinstance(x, fx.Node) or len(shape_of(x)) != 3 or len(shape_of(node)) != 3:
            continue
        if rule in (_same, _along_axis) and not _between(node):
            continue
        with module.graph.inserting_before(node):
            image = reshaped(module, x, _image(x), module_of=node)
            made = rule(module, node, image)
            if made is None:
                continue
            flat = reshaped(module, made, shape_of(node), module_of=node)
        substitute(module, node, flat)
        count += 1
    return count


def _image(x: fx.Node) -> tuple[int, ...]:
    batch, channels, length = shape_of(x)
    return (batch, channels, 1, length)


def _two(value: Any, first: int) -> list[int]:
    return [first, int(value[0] if isinstance(value, list | tuple) else value)]


def _convolution(module: fx.GraphModule, node: fx.Node, x: fx.Node) -> fx.Node | None:
    given = arguments(node)
    if not is_constant(given["weight"]):
        return None
    weight = add_tensor(module, "conv_weight", tensor_of(module, given["weight"]).unsqueeze(2))
    padding = given["padding"] if isinstance(given["padding"], str) else _two(given["padding"], 0)
    target = aten.conv2d.padding if isinstance(padding, str) else aten.conv2d.default
    args = (x, weight, given["bias"], _two(given["stride"], 1), padding, _two(given["dilation"], 1), given["groups"])
    return call(module, target, args, like=node, shape=_image(node))


def _maximum(module: fx.GraphModule, node: fx.Node, x: fx.Node) -> fx.Node:
    given = arguments(node)
    stride = given["stride"] or given["kernel_size"]
    args = (
        x,
        _two(given["kernel_size"], 1),
        _two(stride, 1),
        _two(given["padding"], 0),
        _two(given["dilation"], 1),
        given["ceil_mode"],
    )
    return call(module, aten.max_pool2d.default, args, like=node, shape=_image(node))


def _average(module: fx.GraphModule, node: fx.Node, x: fx.Node) -> fx.Node:
    given = arguments(node)
    stride = given["stride"] or given["kernel_size"]
    sizes = (_two(given["kernel_size"], 1), _two(stride, 1), _two(given["padding"], 0))
    args = (x, *sizes, given["ceil_mode"], given["count_include_pad"])
    return call(module, aten.avg_pool2d.default, args, like=node, shape=_image(node))


def _same(module: fx.GraphModule, node: fx.Node, x: fx.Node) -> fx.Node | None:
    """A pointwise operator: its values become images, and its constants too."""
    if any(len(shape_of(value)) != 3 and not is_constant(value) for value in node.all_input_nodes):
        return None

    def image(argument: fx.Node) -> fx.Node:
        if is_constant(argument):
            value = tensor_of(module, argument)
            return add_tensor(module, "table", value.reshape(*[1] * (3 - value.ndim), *value.shape).unsqueeze(2))
        return reshaped(module, argument, _image(argument), module_of=node)

    args = fx.map_arg(node.args, image)
    made = call(module, node.target, args, like=node, shape=_image(node))
    made.kwargs = node.kwargs
    return made


def _along_axis(module: fx.GraphModule, node: fx.Node, x: fx.Node) -> fx.Node | None:
    """A concatenation or a slice: the length is the fourth axis of an image."""
    axis = arguments(node)["dim"] % 3
    made = _same(module, node, x)
    if made is not None:
        made.args = (made.args[0], axis + (axis == 2), *made.args[2:])
    return made


def _between(node: fx.Node) -> bool:
    """Whether a pointwise operator reads what is an image already."""
    source = node.all_input_nodes[0]
    return source.target is aten.reshape.default and len(shape_of(source.args[0])) == 4  # type: ignore[arg-type]


Rule = Callable[[fx.GraphModule, fx.Node, fx.Node], fx.Node | None]
RULES: dict[Any, Rule] = {
    aten.conv1d.default: _convolution,
    aten.conv1d.padding: _convolution,
    aten.max_pool1d.default: _maximum,
    aten.avg_pool1d.default: _average,
    aten.cat.default: _along_axis,
    aten.slice.Tensor: _along_axis,
    **dict.fromkeys(POINTWISE, _same),
}
