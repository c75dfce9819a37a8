"""What a layer of the quantized graph is called: by its user's module, `features.14.conv.1`, or by module and operation, `features.3:add`.

A layer is a step whose value is quantized with a range of its own: what has weights, sums, products, means, activations. Clamps and moves
belong to the layer before them. The names are the same before and after PT2E has put its quantizers in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches

from torch import fx

from edgeds.errors import InputError
from edgeds.program import module_path
from edgeds.quantize.operators import ACTIVATIONS, BOUNDED, ELEMENTWISE, MOVES, WEIGHTED, aten

LAYERS = WEIGHTED | ELEMENTWISE | ACTIVATIONS | BOUNDED | {aten.mean.dim}


def layer_names(graph: fx.Graph) -> dict[fx.Node, str]:
    """The name of each layer, in the order of the graph. A module that is called twice is one layer; a second sum in a module is `features.3:add:2`."""
    names: dict[fx.Node, str] = {}
    seen: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in LAYERS:
            continue
        path = module_path(node)
        if node.target in WEIGHTED and path:
            names[node] = path
            continue
        name = f"{path}:{operation(node)}"
        seen[name] += 1
        names[node] = name if seen[name] == 1 else f"{name}:{seen[name]}"
    return names


def operation(node: fx.Node) -> str:
    """An operator's short name: `conv2d`, `add`."""
    return str(node.target).split(".")[1]


def named_layers(graph: fx.Graph, wanted: Iterable[str]) -> set[fx.Node]:
    """The layers that `wanted` names: itself, or all that is inside of a module. InputError, with near matches, for a name that is neither."""
    names = layer_names(graph)
    found: set[fx.Node] = set()
    for name in wanted:
        nodes = {node for node, own in names.items() if own == name or own.startswith((f"{name}.", f"{name}:"))}
        if not nodes:
            raise InputError(_unknown(name, list(dict.fromkeys(names.values()))))
        found |= nodes
    return found


def kept_in_float(graph: fx.Graph, wanted: Iterable[str]) -> set[fx.Node]:
    """The steps that stay in float where `wanted` names what shall: those layers, and what only moves an input or one of their values to another."""
    kept = named_layers(graph, wanted)
    for node in graph.nodes if kept else ():
        if node.target in MOVES and _is_of(node.args[0], kept) and _is_read_by(node, kept):
            kept.add(node)
    return kept


def _is_of(source: fx.Node, kept: set[fx.Node]) -> bool:
    return source.op == "placeholder" or source in kept


def _is_read_by(node: fx.Node, kept: set[fx.Node]) -> bool:
    """Whether all that reads a value is in `kept`, behind other moves or not."""
    return all(user in kept or (user.target in MOVES and _is_read_by(user, kept)) for user in node.users)


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=3) or known[:3]
    return f"no layer is called {name!r} (like {', '.join(close)}); `edgeds sensitivity` lists all {len(known)}"
