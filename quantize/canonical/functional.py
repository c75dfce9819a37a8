"""In-place operators become out-of-place ones: quantization and all three converters think in values, not in memory.

A write through a view (`y[:, :1] = 0.5`) becomes the whole tensor with that part changed, and whatever reads that memory
later, through the tensor or through another view of it, reads the new values.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import fx

from edgeds.errors import ModelError
from edgeds.quantize.canonical.edit import shape_of
from edgeds.quantize.canonical.views import Shape, View, view_of

aten = torch.ops.aten


def functional(module: fx.GraphModule) -> int:
    """Rewrites every `op_` to `op`, and what reads the changed memory later. Exact; returns how many.

    Raises ModelError where it is read later but the change went through a view that leaves open which part of it changed.
    """
    memory = _Memory(module)
    count = 0
    for node in list(module.graph.nodes):
        view, written = view_of(node), _written(node)
        memory.read(node)
        if written is not None and _copies_itself(node):
            node.target, node.args = aten.alias.default, node.args[:1]
            memory.look(Shape(node, written))
            count += 1
        elif written is not None:
            memory.write(node, written)
            count += 1
        elif view is not None:
            memory.look(view)
    return count


class _Memory:
    """Which node holds what a node's memory contains by now. Found when it is read: most writes are not read through another view."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._views: dict[fx.Node, View] = {}
        self._writes: dict[fx.Node, list[str]] = {}  # into the memory of a node that owns some: titles
        self._held: dict[fx.Node, tuple[fx.Node | None, int]] = {}  # the value, and after how many writes it held

    def look(self, view: View) -> None:
        """Notes a view when it is made. It holds what an equal one holds, through which the memory may have been written."""
        equal = [other for other in self._views if replace(self._views[other], node=view.node) == view]
        fresh = [value for value, count in map(self._held.__getitem__, equal) if count == self._count(view.source)]
        self._views[view.node] = view
        self._hold(view.node, fresh[0] if fresh else view.node)

    def read(self, node: fx.Node) -> None:
        """Lets a node read what its arguments hold by now."""
        with self._module.graph.inserting_before(node):
            for source in node.all_input_nodes:
                value = self._value(source)
                if value is None:
                    raise ModelError(
                        f"{self._writes[self._owner(source)][-1]} changes a part of a tensor that is read again later, through a view "
                        "that edgeds cannot follow; compute a new tensor instead (torch.cat of the parts, or torch.where)"
                    )
                if value is not source:
                    node.replace_input_with(source, value)

    def write(self, node: fx.Node, changed: fx.Node) -> None:
        """Makes an in-place operator return its result, and puts that into the memory of the node that it changed."""
        path = self._path(changed)
        with self._module.graph.inserting_before(node):
            wholes = [self._value(view.source) for view in path]
        self._writes.setdefault(self._owner(changed), []).append(_title(node))
        _compute(node)
        self._views[node] = Shape(node, changed)
        self._hold(node, node)
        self._hold(changed, node)
        part: fx.Node | None = node
        with self._module.graph.inserting_before(node.next):
            for view, whole in zip(path, wholes, strict=True):
                part = None if part is None or whole is None else view.put(self._module, whole, part)
                self._hold(view.source, part)

    def _hold(self, node: fx.Node, value: fx.Node | None) -> None:
        self._held[node] = value, self._count(node)

    def _value(self, node: fx.Node) -> fx.Node | None:
        value, count = self._held.get(node, (node, 0))
        if count < self._count(node):  # written through another view since
            view = self._views[node]
            whole = self._value(view.source)
            value = None if whole is None else view.read(self._module, whole)
            self._hold(node, value)
        return value

    def _count(self, node: fx.Node) -> int:
        return len(self._writes.get(self._owner(node), ()))

    def _owner(self, node: fx.Node) -> fx.Node:
        path = self._path(node)
        return path[-1].source if path else node

    def _path(self, node: fx.Node) -> list[View]:
        """The views from a node to the one that owns its memory."""
        path = []
        while (view := self._views.get(node)) is not None:
            path.append(view)
            node = view.source
        return path


def _written(node: fx.Node) -> fx.Node | None:
    """What an in-place operator changes and returns; None for another step."""
    changed = node.args[0] if node.args else None
    return changed if isinstance(changed, fx.Node) and _out_of_place(node) is not None else None


def _copies_itself(node: fx.Node) -> bool:
    """What `y[:, :1] += 1` ends with: it copies the sum, which is in its place already, there once more."""
    return node.target is aten.copy_.default and node.args[0] is node.args[1]


def _compute(node: fx.Node) -> None:
    """Turns an in-place operator into one that computes the same values."""
    changed, *others = node.args
    shape = list(shape_of(changed)) if isinstance(changed, fx.Node) else []
    if node.target is aten.copy_.default or node.target is aten.fill_.Tensor:
        node.target, node.args = aten.expand.default, (others[0], shape)
    elif node.target is aten.fill_.Scalar or node.target is aten.zero_.default:
        node.target, node.args = aten.full.default, (shape, others[0] if others else 0.0)
    elif (replacement := _out_of_place(node)) is not None:
        node.target = replacement


def _out_of_place(node: fx.Node) -> torch._ops.OpOverload | None:
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return None
    name = target._schema.name.split("::")[1]
    if target.namespace != "aten" or not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(aten, name[:-1], None)
    return getattr(packet, target._overloadname, None) if packet is not None else None


def _title(node: fx.Node) -> str:
    source = node.meta.get("edgeds_source") or node.meta.get("edgeds_module")
    return f"{node.target} at {source}" if source else str(node.target)
