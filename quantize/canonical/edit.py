"""Small edits of a torch.fx graph that the rewrites share: reading and adding tensors, inserting calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from edgeds import program

ORIGIN = ("nn_module_stack", "edgeds_module", "edgeds_source")  # where in the user's model a node comes from


def add_tensor(module: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    """Adds a constant under a name of its own; the graph must be in an `inserting_before` block."""
    taken = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    unique = next(f"{name}_{k}" for k in range(len(taken) + 1) if f"{name}_{k}" not in taken)
    program.register(module, unique, value.contiguous())
    node = module.graph.get_attr(unique)
    node.meta["val"] = value
    return node


def call(
    module: fx.GraphModule,
    target: Any,
    args: Sequence[Any],
    like: fx.Node,
    shape: Sequence[int] | None = None,
    module_of: fx.Node | None = None,
) -> fx.Node:
    """Inserts a call whose value has `like`'s shape (or `shape`) and that belongs to `module_of`'s (or `like`'s) module."""
    node = module.graph.call_function(target, tuple(args))
    origin = module_of or like
    node.meta = {key: origin.meta[key] for key in ORIGIN if key in origin.meta}
    value = like.meta["val"]
    node.meta["val"] = value if shape is None else value.new_empty(tuple(shape))
    return node


def has_only_user(node: fx.Node) -> bool:
    """Whether exactly one node reads this one."""
    return len(node.users) == 1


def is_spatial_mean(node: fx.Node) -> bool:
    """Whether a node is the mean of a [N, C, H, W] over H and W, the only mean that all three runtimes have in integers."""
    if node.target is not torch.ops.aten.mean.dim or not isinstance(node.args[0], fx.Node) or node.kwargs:
        return False
    value, axes = node.args[0].meta.get("val"), node.args[1]
    if not isinstance(value, torch.Tensor) or value.ndim != 4 or not isinstance(axes, list | tuple):
        return False
    return sorted(int(axis) % 4 for axis in axes) == [2, 3]  # type: ignore[arg-type]  # a mean's axes are integers


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's value; () where it is no tensor."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def is_constant(node: Any) -> bool:
    """Whether an argument is a tensor of the model."""
    return isinstance(node, fx.Node) and node.op == "get_attr"


def substitute(module: fx.GraphModule, old: fx.Node, new: fx.Node) -> None:
    """Lets every reader of `old` read `new`, and removes `old`."""
    old.replace_all_uses_with(new)
    module.graph.erase_node(old)


def reshaped(module: fx.GraphModule, x: fx.Node, shape: Sequence[int], module_of: fx.Node | None = None) -> fx.Node:
    """`x` in another shape; `x` itself where it has that shape already."""
    if shape_of(x) == tuple(shape):
        return x
    return call(module, torch.ops.aten.reshape.default, (x, list(shape)), like=x, shape=shape, module_of=module_of)


def arguments(node: fx.Node) -> dict[str, Any]:
    """A call's arguments by the names of its schema, defaults included."""
    given = {}
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]  # calls of operators only
        default = argument.default_value if argument.has_default_value() else None
        given[argument.name] = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name, default)
    return given
