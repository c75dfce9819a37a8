"""An activation that is written out in elementary operators becomes the one operator it computes.

x · relu6(x + 3) / 6, x · clamp(x + 3, 0, 6) · 0.1667 and (relu6(x + 3) / 6) · x are all hardswish. What is recognized is not how
a function is written but what it computes: every chain of pointwise operators that leads from one value to another is evaluated
over an interval and compared with the known functions. The runtimes have kernels for these, and none for their pieces in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import call

aten = torch.ops.aten

Function = Callable[[torch.Tensor], torch.Tensor]

# Each operator with the arguments behind the value itself. (silu is written out again later, by one rewrite for all.)
KNOWN: tuple[tuple[Any, tuple[Any, ...], dict[str, Any]], ...] = (
    (aten.hardswish.default, (), {}),
    (aten.hardsigmoid.default, (), {}),
    (aten.gelu.default, (), {}),
    (aten.gelu.default, (), {"approximate": "tanh"}),
    (aten.silu.default, (), {}),
    (aten.mish.default, (), {}),
    (aten.tanh.default, (), {}),
    (aten.hardtanh.default, (0.0, 6.0), {}),
)
POINTWISE = {
    getattr(packet, overload)
    for packet, overloads in (
        *((getattr(aten, name), ("Tensor", "Scalar")) for name in ("add", "sub", "mul", "div", "rsub")),
        (aten.pow, ("Tensor_Scalar",)),
        *(
            (getattr(aten, name), ("default",))
            for name in (
                *("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "clip", "hardsigmoid", "sigmoid"),
                *("tanh", "erf", "exp", "log", "log1p", "softplus", "neg", "square", "abs", "reciprocal"),
            )
        ),
    )
    for overload in overloads
}
LONGEST = 16  # operators in one chain; GELU's tanh form has 8
INTERVAL = (-8.0, 8.0, 1601)  # from, to, points
TOLERANCE = 5e-6  # absolute; GELU written with 0.7978845608 or 1/6 written as 0.1666667 are within it


def spelled(module: fx.GraphModule) -> int:
    """Replaces each written-out activation by its operator. Equal within 5e-6 on [-8, 8]; returns how many."""
    count = 0
    for node in reversed(list(module.graph.nodes)):
        found = _recognized(module, node) if node.users else None
        if found is None:
            continue
        source, (operator, arguments, keywords) = found
        with module.graph.inserting_before(node):
            new = call(module, operator, (source, *arguments), like=source, module_of=node)
        new.kwargs = keywords
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
        module.graph.eliminate_dead_code()
        count += 1
    return count


def _recognized(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, Any] | None:
    """The value that `node` is a known function of, and the function, where it takes more than one operator to write."""
    if not _is_pointwise(module, node):
        return None
    points = torch.linspace(*INTERVAL, dtype=torch.float64)
    for source, chain in _chains(module, node):
        if len(chain) > 1:
            values = _evaluate(module, chain, source, points)
            for known in KNOWN:
                operator, arguments, keywords = known
                if float((operator(points, *arguments, **keywords) - values).abs().nan_to_num(1.0).max()) < TOLERANCE:
                    return source, known
    return None


def _chains(module: fx.GraphModule, node: fx.Node) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """Each value that alone decides `node`'s, nearest first, with the operators in between in the order of the graph."""
    order = {n: index for index, n in enumerate(module.graph.nodes)}
    chain, frontier = [node], set(_values(module, node))
    while frontier and len(chain) <= LONGEST:
        if len(frontier) == 1:
            yield next(iter(frontier)), sorted(chain, key=order.__getitem__)
        last = max(frontier, key=order.__getitem__)
        if not _is_pointwise(module, last):
            return
        frontier.remove(last)
        chain.append(last)
        frontier |= set(_values(module, last))


def _evaluate(module: fx.GraphModule, chain: list[fx.Node], source: fx.Node, points: torch.Tensor) -> torch.Tensor:
    known: dict[fx.Node, Any] = {source: points}

    def value(node: fx.Node) -> Any:
        return known[node] if node in known else tensor_of(module, node).double().reshape(())

    for node in chain:
        args, kwargs = fx.map_arg((node.args, node.kwargs), value)
        known[node] = node.target(*args, **kwargs)  # type: ignore[operator]  # an operator: it is pointwise
    result: torch.Tensor = known[chain[-1]]
    return result


def _is_pointwise(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node computes each element from the same element of its inputs: nothing is broadcast but numbers."""
    if node.op != "call_function" or node.target not in POINTWISE:
        return False
    value = node.meta.get("val")
    inputs = _values(module, node)
    if not isinstance(value, torch.Tensor) or value.dtype is not torch.float32 or not inputs:
        return False
    return all(isinstance(x.meta.get("val"), torch.Tensor) and x.meta["val"].shape == value.shape for x in inputs)


def _values(module: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """A node's inputs but for constants of one element."""
    return [x for x in node.all_input_nodes if x.op != "get_attr" or tensor_of(module, x).numel() != 1]
