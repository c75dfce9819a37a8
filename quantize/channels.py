"""Which channels must be scaled together, so that the network computes the same.

Each output channel of a convolution has a factor of its own; a residual add, a concatenation with what is added elsewhere, or a mean hands it
on, and ties it to others. Where an operator is not homogeneous (a sigmoid, a hardswish), or not known, the factor is fixed at 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import fx

from edgeds.quantize.annotate import FIXED_OUTPUTS
from edgeds.quantize.canonical.edit import arguments, is_constant, is_spatial_mean, shape_of
from edgeds.quantize.operators import CLAMPS, ELEMENTWISE, PADS, REARRANGES
from edgeds.quantize.weighted import weighted

aten = torch.ops.aten
FIXED = 0  # the factor that is always 1

# Homogeneous: f(g·x) = g·f(x) for every g > 0, channel by channel.
HOMOGENEOUS = {
    aten.relu.default,
    aten.leaky_relu.default,
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
}
# Only move elements, or pick some.
MOVES = {*REARRANGES, aten.cat.default}
# Not homogeneous, as everyone knows: nothing to tell the user.
CURVES = {
    aten.sigmoid.default,
    aten.tanh.default,
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.silu.default,
    aten.gelu.default,
    aten.elu.default,
    aten.mish.default,
}


@dataclass(frozen=True, slots=True)
class Channels:
    """`factor[node]` is int64 [C]: the factor of each channel (axis 1) of a value, FIXED or 1..count-1.

    Values whose channels do not have one factor each are missing. `limit` has, for each clamp that is one to 0..limit, the value
    that channels must stay under to be scaled. `unknown` names the operators that fixed factors because nothing is known of them.
    """

    factor: dict[fx.Node, torch.Tensor]
    count: int
    limit: dict[fx.Node, float]
    unknown: tuple[str, ...]


def channels(module: fx.GraphModule) -> Channels:
    """The factors of a graph without batch-norm whose nodes know their shapes."""
    walk = _Walk(module)
    for node in module.graph.nodes:
        walk.visit(node)
    return walk.result()


class _Factors:
    """Union-find over factors."""

    def __init__(self) -> None:
        self.parent = [FIXED]

    def new(self, count: int) -> torch.Tensor:
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def find(self, factor: int) -> int:
        while self.parent[factor] != factor:
            self.parent[factor] = self.parent[self.parent[factor]]
            factor = self.parent[factor]
        return factor

    def tie(self, a: torch.Tensor, b: torch.Tensor) -> None:
        for one, other in sorted({*zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)}):
            low, high = sorted((self.find(one), self.find(other)))  # FIXED is the lowest and stays
            self.parent[high] = low

    def fix(self, a: torch.Tensor) -> None:
        stored = a[_stored(a)]
        self.tie(stored, torch.zeros_like(stored))

    def is_fixed(self, a: torch.Tensor) -> bool:
        return all(self.find(factor) == FIXED for factor in {*a[_stored(a)].flatten().tolist()})


class _Walk:
    """Goes through the graph; `_of[node]` has the factor of each element, in the value's shape (most are expanded views)."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._factors = _Factors()
        self._of: dict[fx.Node, torch.Tensor] = {}
        self._limit: dict[fx.Node, float] = {}
        self._unknown: list[str] = []

    def visit(self, node: fx.Node) -> None:
        if node.op == "output":
            self._fix_inputs(node)
        elif shape_of(node):
            found = self._rule(node)
            self._of[node] = self._fixed(node) if found is None else found

    def result(self) -> Channels:
        roots = [self._factors.find(k) for k in range(len(self._factors.parent))]
        kept = sorted(set(roots))
        place = {root: k for k, root in enumerate(kept)}
        number = torch.tensor([place[root] for root in roots])
        numbered = {node: _per_channel(_lookup(number, elements)) for node, elements in self._of.items()}
        factor = {node: found for node, found in numbered.items() if found is not None}
        return Channels(factor, len(kept), self._limit, tuple(dict.fromkeys(self._unknown)))

    def _rule(self, node: fx.Node) -> torch.Tensor | None:
        """The factors of a value's elements; None where they are fixed, and those of its inputs with them."""
        if node.op != "call_function":
            return None
        if node.target in MOVES:
            return self._move(node)
        rules: tuple[tuple[bool, Callable[[fx.Node], torch.Tensor | None]], ...] = (
            (node.target in (aten.conv2d.default, aten.linear.default), self._weighted),
            (node.target in HOMOGENEOUS or is_spatial_mean(node), self._same),
            (node.target in CLAMPS, self._clamp),
            (node.target in PADS, self._pad),
            (node.target is aten.mul.Tensor, self._product),
            (node.target in ELEMENTWISE, self._sum),
        )
        found = next((rule(node) for holds, rule in rules if holds), None)
        if found is None:
            self._fix_inputs(node)
            self._name_unknown(node, known=any(holds for holds, _ in rules))
        return found

    def _weighted(self, node: fx.Node) -> torch.Tensor | None:
        layer = weighted(self._module, node)
        if layer is None or _per_channel(self._of[_source(node)]) is None or not _is_classic(node):
            return None
        return _expanded(self._factors.new(len(layer.weight)), shape_of(node))

    def _same(self, node: fx.Node) -> torch.Tensor | None:
        per_channel = _per_channel(self._of[_source(node)])
        return None if per_channel is None else _expanded(per_channel, shape_of(node))

    def _clamp(self, node: fx.Node) -> torch.Tensor | None:
        low, high = clamp_bounds(node)
        if low != 0:
            return None
        if high != float("inf"):
            self._limit[node] = high
        return self._same(node)

    def _pad(self, node: fx.Node) -> torch.Tensor | None:
        given = arguments(node)
        outside = given.get("mode", "constant") != "constant" or not given["value"]
        return self._same(node) if outside and len(given["pad"]) <= 2 * (len(shape_of(node)) - 2) else None

    def _product(self, node: fx.Node) -> torch.Tensor | None:
        """A value times a gate, whose factors are fixed; two values of which none is a gate have no factors."""
        values = [x for x in node.all_input_nodes if not is_constant(x)]
        if len(values) == 1 and len(node.args) > 1 and node.args[0] is not node.args[1]:
            return self._broadcast(values[0], node)
        gates = [x for x in values if _is_gate(x, node) or self._factors.is_fixed(self._of[x])]
        if len(values) != 2 or not gates:
            return None
        gate = gates[-1]
        self._factors.fix(self._of[gate])
        return self._broadcast(next(x for x in values if x is not gate), node)

    def _broadcast(self, value: fx.Node, node: fx.Node) -> torch.Tensor | None:
        elements = self._of[value]
        return elements.expand(shape_of(node)) if elements.ndim == len(shape_of(node)) else None

    def _sum(self, node: fx.Node) -> torch.Tensor | None:
        first, *others = (self._broadcast(x, node) if x in self._of else None for x in node.args[:2])  # type: ignore[arg-type]
        if first is None or not others or others[0] is None or any(map(is_constant, node.args[:2])):
            return None
        a, b = _per_channel(first), _per_channel(others[0])
        self._factors.tie(*((first, others[0]) if a is None or b is None else (a, b)))
        return first

    def _move(self, node: fx.Node) -> torch.Tensor:
        """Moves of factors are moves of numbers: the operator itself says where each goes."""
        moved: torch.Tensor = node.target(*fx.map_arg(node.args, lambda x: self._of[x]), **node.kwargs)  # type: ignore[operator]
        return moved

    def _fixed(self, node: fx.Node) -> torch.Tensor:
        return torch.zeros((), dtype=torch.long).expand(shape_of(node))

    def _fix_inputs(self, node: fx.Node) -> None:
        for source in node.all_input_nodes:
            if source in self._of:
                self._factors.fix(self._of[source])

    def _name_unknown(self, node: fx.Node, known: bool) -> None:
        if not known and node.target not in CURVES | set(FIXED_OUTPUTS):
            self._unknown.append(str(node.target).removeprefix("aten.").partition(".")[0])


def clamp_bounds(node: fx.Node) -> tuple[float, float]:
    """What a clamp keeps values between."""
    if node.target is aten.relu.default:
        return 0.0, float("inf")
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    given = arguments(node)
    low, high = (given["min_val"], given["max_val"]) if "min_val" in given else (given["min"], given["max"])
    return float("-inf") if low is None else float(low), float("inf") if high is None else float(high)


def _source(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _is_classic(node: fx.Node) -> bool:
    """Whether channels are axis 1 before and behind a layer: a linear layer on more axes has them in the last one."""
    return node.target is not aten.linear.default or len(shape_of(node)) == 2


def _is_gate(value: fx.Node, product: fx.Node) -> bool:
    """Whether a factor of a product is a number a channel, or bounded."""
    return shape_of(value) != shape_of(product) or value.target in CLAMPS - {aten.relu.default} | set(FIXED_OUTPUTS)


def _expanded(per_channel: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return per_channel.view(1, -1, *[1] * (len(shape) - 2)).expand(shape)


def _lookup(number: torch.Tensor, elements: torch.Tensor) -> torch.Tensor:
    """number[elements], where what is expanded stays so."""
    return number[elements[_stored(elements)]].expand(elements.shape)


def _stored(elements: torch.Tensor) -> tuple[slice, ...]:
    """The part of an expanded tensor that lies in memory."""
    return tuple(slice(0, 1) if stride == 0 else slice(None) for stride in elements.stride())


def _per_channel(elements: torch.Tensor) -> torch.Tensor | None:
    """The factor of each index of axis 1, where all elements there have the same; else None."""
    if elements.ndim < 2:
        return None
    first = elements.movedim(1, 0).flatten(1)[:, 0] if elements.numel() else elements.new_empty(elements.shape[1])
    stored = _stored(elements)
    same = elements[stored] == _expanded(first, elements.shape)[stored]
    return first.clone() if bool(same.all()) else None
