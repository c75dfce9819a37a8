"""What quantizing each layer alone costs: measured, layer by layer, on the graph that PT2E makes.

All quantizers of the graph, with the ranges that calibration found, are switched off but for those of one layer. Alone, and not the other way round
(all but one), because then the noise of one layer stands against a clean signal, however loud the other layers are; since the noises of layers
are nearly independent, their powers add up to about the noise of the whole, and a layer's share of it is what it costs.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from edgeds.eager import batch
from edgeds.program import CONVERSIONS, QUANTIZE, tensor_of
from edgeds.quantize.layer_names import layer_names, operation
from edgeds.quantize.operators import CLAMPS, JOINS, MOVES
from edgeds.results import LayerCost, Sensitivity
from edgeds.spec import Samples

PER_CHANNEL = f"{CONVERSIONS}quantize_per_channel.default"
INPUT = "input"

Values = dict[fx.Node, Any]


@dataclass(slots=True)
class Quantizers:
    """The quantize nodes of one layer: those of its weights, and those of the value that it hands on; and the layers that read it."""

    operator: str
    weights: set[fx.Node] = field(default_factory=set)
    activations: set[fx.Node] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)


def layer_costs(
    module: fx.GraphModule, samples: Samples, size: int, progress: Callable[[int, int], None]
) -> Sensitivity:
    """Each layer's cost on these samples, the most costly first; `module` has its weights unfolded, `size` is its batch.

    `progress(done, total)` is called after each batch.
    """
    layers = quantizers(module.graph)
    switched = _switched(layers)
    noise = {active: _Noise() for active in switched.values()}
    firsts = range(0, len(samples), size)
    for done, first in enumerate(firsts, 1):
        inputs = batch(samples, first, size)
        clean = _values(module, inputs, frozenset(), {})
        for active, sums in noise.items():
            sums.add(_outputs(clean, clean), _outputs(_values(module, inputs, active, clean), clean))
        progress(done, len(firsts))
    ratio = {key: noise[active].ratio for key, active in switched.items()}
    total = sum(ratio[name, "both"] for name in layers)
    costs = (_cost(name, layer, ratio, total) for name, layer in layers.items())
    whole_db = _decibels(ratio["", "all"])
    return Sensitivity(tuple(sorted(costs, key=lambda cost: cost.sqnr_db)), whole_db, len(samples))


def quantizers(graph: fx.Graph) -> dict[str, Quantizers]:
    """The quantizers of each layer, by its name, in the order of the graph; inputs are layers too.

    What joins values has its inputs' range and so no noise of its own.
    """
    names = layer_names(graph)
    found: dict[str, Quantizers] = {}
    for node in graph.nodes:
        if str(node.target) == PER_CHANNEL:
            for layer in _readers_of_weights(node, names):
                found.setdefault(names[layer], Quantizers(operation(layer))).weights.add(node)
        elif str(node.target) == QUANTIZE:
            root = _root(node.args[0])
            if root in names or root.op == "placeholder":
                name = names.get(root, str(root.target))
                kind = operation(root) if root in names else INPUT
                found.setdefault(name, Quantizers(kind)).activations.add(node)
                found[name].readers |= set(_readers(node, names))
    return found


def _switched(layers: dict[str, Quantizers]) -> dict[tuple[str, str], frozenset[fx.Node]]:
    """What is measured: for each layer its weights' quantizers, its values' and both; and all of all layers."""
    found: dict[tuple[str, str], frozenset[fx.Node]] = {}
    for name, layer in layers.items():
        both = frozenset(layer.weights | layer.activations)
        parts = {"weights": layer.weights, "activations": layer.activations, "both": both}
        found |= {(name, kind): frozenset(nodes) for kind, nodes in parts.items() if nodes}
    found["", "all"] = frozenset().union(*found.values())
    return found


def _cost(name: str, layer: Quantizers, ratio: dict[tuple[str, str], float], total: float) -> LayerCost:
    own = ratio[name, "both"]

    def apart(kind: str) -> float | None:
        return _decibels(ratio[name, kind]) if (name, kind) in ratio else None

    share, readers = own / total if total else 0.0, tuple(sorted(layer.readers))
    return LayerCost(name, layer.operator, _decibels(own), apart("weights"), apart("activations"), share, readers)


def _readers(node: fx.Node, names: dict[fx.Node, str]) -> Iterator[str]:
    """The layers that read a value: behind conversions, moves and what joins values."""
    for user in node.users:
        if user in names:
            yield names[user]
        elif _converts(user) or user.target in MOVES | CLAMPS | JOINS:
            yield from _readers(user, names)


def _readers_of_weights(node: fx.Node, names: dict[fx.Node, str]) -> Iterator[fx.Node]:
    for user in node.users:
        yield from [user] if user in names else _readers_of_weights(user, names)


def _root(value: Any) -> fx.Node:
    """The layer whose value this is: clamps, moves and conversions are passed."""
    node: fx.Node = value
    while node.op == "call_function" and (node.target in MOVES | CLAMPS or _converts(node)):
        node = node.args[0]  # type: ignore[assignment]  # the first argument of all these is a node
    return node


def _converts(node: fx.Node) -> bool:
    return str(node.target).startswith(CONVERSIONS)


def _values(
    module: fx.GraphModule, inputs: Sequence[torch.Tensor], active: AbstractSet[fx.Node], clean: Values
) -> Values:
    """The value of each node with those quantizers on and all others off; only of those that differ from `clean`, where that is given."""
    found: Values = {}
    known = ChainMap(found, clean)
    given = iter(inputs)
    with torch.no_grad():
        for node in module.graph.nodes:
            if clean and node not in active and found.keys().isdisjoint(node.all_input_nodes):
                continue
            found[node] = next(given) if node.op == "placeholder" else _value(module, node, active, known)
    return found


def _value(module: fx.GraphModule, node: fx.Node, active: AbstractSet[fx.Node], known: Mapping[fx.Node, Any]) -> Any:
    if node.op == "get_attr":
        return tensor_of(module, node)
    args: Any = fx.node.map_arg(node.args, known.__getitem__)
    if node.op == "output" or (_converts(node) and node not in active and args[0].is_floating_point()):
        return args[0]  # a quantizer that is off, or the dequantize behind one
    target: Any = node.target
    return target(*args, **fx.node.map_arg(node.kwargs, known.__getitem__))


def _outputs(values: Values, clean: Values) -> list[torch.Tensor]:
    last = next(reversed(clean))
    return [value for value in tree_leaves(values.get(last, clean[last])) if value.is_floating_point()]


class _Noise:
    """Sums of squares over the batches: of each output, and of how far it is off."""

    def __init__(self) -> None:
        self._sums: list[tuple[float, float]] = []

    def add(self, reference: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> None:
        """Outputs of one batch."""
        new = [(_power(x), _power(x - y)) for x, y in zip(reference, other, strict=True)]
        before = self._sums or [(0.0, 0.0)] * len(new)
        self._sums = [(a + c, b + d) for (a, b), (c, d) in zip(before, new, strict=True)]

    @property
    def ratio(self) -> float:
        """Noise power over signal power, the worst output's."""
        return max(
            (noise / signal if signal else math.inf * noise for signal, noise in self._sums if noise), default=0.0
        )


def _power(x: torch.Tensor) -> float:
    return float(x.double().square().sum())


def _decibels(ratio: float) -> float:
    return -10 * math.log10(ratio) if ratio else math.inf
