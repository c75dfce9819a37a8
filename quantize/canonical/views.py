"""Views of a tensor's memory: which part of the whole each one shows, how to read it from the whole, and how to put it back."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments, call, reshaped, shape_of
from edgeds.quantize.canonical.split import SPLITS, lengths

aten = torch.ops.aten
# shows all of its source, in the same order
SHAPES = {
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.alias.default,
    aten.detach.default,
    aten.detach_.default,
    aten.contiguous.default,
}
PERMUTATIONS = {aten.permute.default, aten.transpose.int, aten.t.default}


@dataclass(frozen=True, slots=True)
class View:
    """`node` shows `source`'s memory in a way of its own, that nothing can be put back through."""

    node: fx.Node
    source: fx.Node

    def read(self, module: fx.GraphModule, whole: fx.Node) -> fx.Node:
        """What the view shows of another value of its source."""
        return call(module, self.node.target, (whole, *self.node.args[1:]), like=self.node)

    def put(self, module: fx.GraphModule, whole: fx.Node, part: fx.Node) -> fx.Node | None:
        """The source's value `whole` with what the view shows of it replaced by `part`; None where that cannot be told."""
        return None


@dataclass(frozen=True, slots=True)
class Shape(View):
    """All of the source in another shape."""

    def read(self, module: fx.GraphModule, whole: fx.Node) -> fx.Node:
        """The whole in the view's shape."""
        return reshaped(module, whole, shape_of(self.node), module_of=self.node)

    def put(self, module: fx.GraphModule, whole: fx.Node, part: fx.Node) -> fx.Node:
        """The part in the source's shape."""
        return reshaped(module, part, shape_of(self.source), module_of=self.node)


@dataclass(frozen=True, slots=True)
class Permutation(View):
    """All of the source with its axes in another order: the view's k-th axis is the source's order[k]-th."""

    order: tuple[int, ...]

    def read(self, module: fx.GraphModule, whole: fx.Node) -> fx.Node:
        """The whole with its axes in the view's order."""
        return _permuted(module, whole, self.order, self.node)

    def put(self, module: fx.GraphModule, whole: fx.Node, part: fx.Node) -> fx.Node:
        """The part with its axes in the source's order."""
        return _permuted(module, part, [self.order.index(k) for k in range(len(self.order))], self.node)


@dataclass(frozen=True, slots=True)
class Part(View):
    """The indices start to stop of an axis of the source; the view may lack that axis."""

    axis: int
    start: int
    stop: int

    def read(self, module: fx.GraphModule, whole: fx.Node) -> fx.Node:
        """That part of the whole."""
        return reshaped(module, self._sliced(module, whole, self.start, self.stop), shape_of(self.node), self.node)

    def put(self, module: fx.GraphModule, whole: fx.Node, part: fx.Node) -> fx.Node:
        """What lies before the part, the part, and what lies behind it, side by side."""
        shape = list(shape_of(self.source))
        size, shape[self.axis] = shape[self.axis], self.stop - self.start
        pieces = [reshaped(module, part, shape, module_of=self.node)]
        if self.start > 0:
            pieces.insert(0, self._sliced(module, whole, 0, self.start))
        if self.stop < size:
            pieces.append(self._sliced(module, whole, self.stop, size))
        if len(pieces) == 1:
            return pieces[0]
        return call(module, aten.cat.default, (pieces, self.axis), like=self.source, module_of=self.node)

    def _sliced(self, module: fx.GraphModule, whole: fx.Node, start: int, stop: int) -> fx.Node:
        shape = [*shape_of(self.source)]
        shape[self.axis] = stop - start
        args = (whole, self.axis, start, stop)
        return call(module, aten.slice.Tensor, args, like=self.source, shape=shape, module_of=self.node)


def view_of(node: fx.Node) -> View | None:
    """How a node shows the memory of its first argument; None where its value has memory of its own."""
    source: Any = node.args[0] if node.args else None
    if node.op != "call_function" or not isinstance(source, fx.Node):
        return None
    if node.target is operator.getitem:
        return _split_part(node, source)
    if not isinstance(node.target, torch._ops.OpOverload) or not _shares_memory(node, source):
        return None
    if node.target in SHAPES:
        return Shape(node, source)
    if node.target in PERMUTATIONS:
        return Permutation(node, source, _order(node))
    return _part(node, source) or View(node, source)


def _split_part(node: fx.Node, splitting: fx.Node) -> View | None:
    if splitting.target not in SPLITS:
        return None
    source: Any = splitting.args[0]
    axis, sizes = lengths(splitting)
    index = int(node.args[1])  # type: ignore[arg-type]  # a getitem
    start = sum(sizes[:index])
    return Part(node, source, axis, start, start + sizes[index])


def _part(node: fx.Node, source: fx.Node) -> Part | None:
    if node.target not in (aten.slice.Tensor, aten.select.int, aten.narrow.default):
        return None
    given = arguments(node)
    axis = given["dim"] % len(shape_of(source))
    size = shape_of(source)[axis]
    if node.target is aten.slice.Tensor:
        if given["step"] != 1:
            return None
        start, stop, _ = slice(given["start"], given["end"]).indices(size)
        return Part(node, source, axis, start, max(start, stop))
    start = int(given["index" if node.target is aten.select.int else "start"]) % size
    return Part(node, source, axis, start, start + given.get("length", 1))


def _order(node: fx.Node) -> tuple[int, ...]:
    axes = list(range(len(shape_of(node))))
    if node.target is aten.permute.default:
        return tuple(axis % len(axes) for axis in arguments(node)["dims"])
    given = arguments(node)
    first, second = (given["dim0"], given["dim1"]) if node.target is aten.transpose.int else (0, len(axes) - 1)
    axes[first], axes[second] = axes[second], axes[first]
    return tuple(axes)


def _permuted(module: fx.GraphModule, x: fx.Node, order: Sequence[int], module_of: fx.Node) -> fx.Node:
    shape = [shape_of(x)[axis] for axis in order]
    return call(module, aten.permute.default, (x, list(order)), like=x, shape=shape, module_of=module_of)


def _shares_memory(node: fx.Node, source: fx.Node) -> bool:
    """Whether the values that torch recorded for both lie in one piece of memory: reshape and contiguous copy where they must."""
    mine, its = node.meta.get("val"), source.meta.get("val")
    if not isinstance(mine, torch.Tensor) or not isinstance(its, torch.Tensor):
        return False
    return bool(mine.untyped_storage()._cdata == its.untyped_storage()._cdata)
