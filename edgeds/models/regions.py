"""Regions in which PyTorch computes in another mode: where the mode changes no value, their steps take the region's place.

torch.export keeps a `with torch.autocast(…)` and a `with torch.enable_grad()` as one step that calls a graph of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import fx


def inline_regions(module: fx.GraphModule) -> None:
    """Inlines regions of gradients, of autocast that is off, and of another device's autocast; regions inside of regions too.

    Autocast that is on for the CPU computes in bfloat16, so that it stays, to be refused.
    """
    while found := next((node for node in module.graph.nodes if _inner(module, node) is not None), None):
        _inline(module, found)
    module.graph.eliminate_dead_code()
    module.recompile()


def _inner(module: fx.GraphModule, node: fx.Node) -> fx.GraphModule | None:
    """The graph of a region that can be inlined: one that has no tensors of its own."""
    import torch

    start = _operands_from(node)
    if start is None:
        return None
    inner = module.get_submodule(str(node.args[start - 1].target))  # type: ignore[union-attr]  # the get_attr of the region's graph
    assert isinstance(inner, torch.fx.GraphModule)
    own = [
        n for n in inner.graph.nodes if n.op == "get_attr" and not isinstance(_value(inner, n), torch.fx.GraphModule)
    ]
    return None if own else inner


def _value(inner: fx.GraphModule, node: fx.Node) -> Any:
    return getattr(inner, str(node.target), None)


def _operands_from(node: fx.Node) -> int | None:
    """Where the operands begin among the arguments of a region that changes no value; None for any other step."""
    import torch

    regions = torch.ops.higher_order
    if node.target is regions.wrap_with_set_grad_enabled:
        return 2  # (enabled, graph, operands…)
    if node.target is regions.wrap_with_autocast:
        device, _, enabled = node.args[:3]
        return 5 if device != "cpu" or not enabled else None  # (device, dtype, enabled, cache, graph, operands…)
    return None


def _inline(module: fx.GraphModule, region: fx.Node) -> None:
    inner, start = _inner(module, region), _operands_from(region)
    assert inner is not None and start is not None
    places = [node for node in inner.graph.nodes if node.op == "placeholder"]
    values: dict[fx.Node, Any] = dict(zip(places, region.args[start:], strict=True))
    for node in inner.graph.nodes:
        if node.op == "get_attr":  # the graph of a region inside
            name = f"{region.name}_{node.target}".replace(".", "_")
            module.add_submodule(name, _value(inner, node))
            with module.graph.inserting_before(region):
                values[node] = module.graph.get_attr(name)
    with module.graph.inserting_before(region):
        given: Any = module.graph.graph_copy(inner.graph, values)  # a tuple
    for user in list(region.users):  # each takes one of the region's outputs
        user.replace_all_uses_with(given[user.args[1]])
        module.graph.erase_node(user)
    module.graph.erase_node(region)
