"""Every way to write a reshape or a permutation becomes reshape or permute, and what cancels out goes.

Rewrites and annotation know two operators then instead of a dozen, and XNNPACK sees no view that ends a delegate.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments, shape_of, substitute

aten = torch.ops.aten
RESHAPES = {
    aten.reshape.default,
    aten.view.default,
    aten._unsafe_view.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
}
PERMUTATIONS = {
    aten.permute.default,
    aten.transpose.int,
    aten.swapaxes.default,
    aten.movedim.int,
    aten.movedim.intlist,
    aten.t.default,
    aten.numpy_T.default,
    aten.mT.default,
}


def moves(module: fx.GraphModule) -> int:
    """Rewrites all reshapes and permutations, joins neighbours, and removes those that change nothing. Exact; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in RESHAPES | PERMUTATIONS:
            before = (node.target, node.args)
            _join(node) if _is_reshape(node) else _permute(node)
            same = shape_of(node) == shape_of(node.args[0]) and node.target is aten.reshape.default
            if same:
                substitute(module, node, node.args[0])
            count += same or before != (node.target, node.args)
    module.graph.eliminate_dead_code()
    return count


def permutation(node: fx.Node) -> list[int]:
    """Which axis of its input each axis of a permutation is."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    axes = torch.arange(1, len(shape_of(source)) + 1)
    labels = torch.empty(
        tuple(axes.tolist()), device="meta"
    )  # axes of different sizes: the result tells which went where
    moved = node.target(labels, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    return [int(size) - 1 for size in moved.shape]


def _is_reshape(node: fx.Node) -> bool:
    """Whether a node keeps the order of values in memory: a permutation that moves only axes of one element does."""
    if node.target in RESHAPES:
        return True
    shape = shape_of(node.args[0])  # type: ignore[arg-type]
    long = [axis for axis in permutation(node) if shape[axis] > 1]
    return long == sorted(long)


def _join(node: fx.Node) -> None:
    source = node.args[0]
    while isinstance(source, fx.Node) and source.target in RESHAPES:
        source = source.args[0]
    node.target, node.args, node.kwargs = aten.reshape.default, (source, list(shape_of(node))), {}


def _permute(node: fx.Node) -> None:
    order, source = permutation(node), arguments(node)["self"]
    if source.op == "call_function" and source.target in PERMUTATIONS and not _is_reshape(source):
        inner = permutation(source)
        order, source = [inner[axis] for axis in order], source.args[0]
    if order == list(range(len(order))):
        node.target, node.args, node.kwargs = aten.reshape.default, (source, list(shape_of(node))), {}
    else:
        node.target, node.args, node.kwargs = aten.permute.default, (source, order), {}
