"""Every maximum over places becomes max_pool2d without dilation, which all three runtimes have in integers."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments, call, reshaped, shape_of, substitute

aten = torch.ops.aten
WITH_INDICES = {
    aten.adaptive_max_pool2d.default: "adaptive",
    aten.max_pool2d_with_indices.default: "plain",
}


def max_pool(module: fx.GraphModule) -> int:
    """Rewrites adaptive_max_pool2d, max_pool2d_with_indices and amax over an image. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in WITH_INDICES and all(_item(user) == 0 or not user.users for user in node.users):
            count += _first_output(module, node)
        elif node.target is aten.amax.default and _over_image(node):
            with module.graph.inserting_before(node):
                pooled = _global(module, node, node.args[0])
            substitute(module, node, pooled)
            count += 1
    return count


def _item(user: fx.Node) -> Any:
    return user.args[1] if user.target is operator.getitem else None


def _first_output(module: fx.GraphModule, node: fx.Node) -> int:
    values = [user for user in node.users if _item(user) == 0]
    x: Any = node.args[0]
    if not values or (WITH_INDICES[node.target] == "adaptive" and _kernel(x, values[0]) is None):  # type: ignore[index]
        return 0
    with module.graph.inserting_before(node):
        if WITH_INDICES[node.target] == "plain":  # type: ignore[index]
            pooled = call(module, aten.max_pool2d.default, tuple(arguments(node).values()), like=values[0])
        else:
            kernel = _kernel(x, values[0])
            pooled = call(module, aten.max_pool2d.default, (x, kernel, kernel), like=values[0])
    for value in values:
        value.replace_all_uses_with(pooled)
    for user in [*node.users]:
        module.graph.erase_node(user)
    module.graph.erase_node(node)
    return 1


def _kernel(x: fx.Node, value: fx.Node) -> list[int] | None:
    """The equal windows that an adaptive pooling has; None where they differ."""
    sizes, wanted = shape_of(x)[-2:], shape_of(value)[-2:]
    even = all(size % want == 0 for size, want in zip(sizes, wanted, strict=True))
    return [size // want for size, want in zip(sizes, wanted, strict=True)] if even else None


def _over_image(node: fx.Node) -> bool:
    shape = shape_of(node.args[0])  # type: ignore[arg-type]
    return len(shape) == 4 and sorted(int(axis) % 4 for axis in arguments(node)["dim"]) == [2, 3]


def _global(module: fx.GraphModule, node: fx.Node, x: Any) -> fx.Node:
    batch, channels, height, width = shape_of(x)
    args = (x, [height, width], [height, width])
    pooled = call(module, aten.max_pool2d.default, args, like=x, shape=(batch, channels, 1, 1), module_of=node)
    return reshaped(module, pooled, shape_of(node), module_of=node)
