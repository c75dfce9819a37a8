"""Moves of the quantized graph in the form that XNNPACK has: the same values, bit for bit.

executorch's XNNPACK delegate has no nearest upsampling and no slice with a step, and executorch writes a reshape behind a permutation with a clone in between, which
leaves the integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import fx

aten = torch.ops.aten
decomposed = torch.ops.quantized_decomposed

QUANTIZE = decomposed.quantize_per_tensor.default
DEQUANTIZE = decomposed.dequantize_per_tensor.default
NEAREST = {aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default}


def contiguous_permutations(module: fx.GraphModule) -> int:
    """permute becomes permute_copy, whose result is contiguous: a reshape behind it is a view then. Returns how many."""
    count = 0
    for node in module.graph.nodes:
        if node.target is aten.permute.default:
            node.target = aten.permute_copy.default
            count += 1
    module.recompile()
    return count


def nearest_by_concatenation(module: fx.GraphModule, shapes: dict[str, tuple[int, ...]]) -> int:
    """Upsampling by whole numbers: each row beside itself, then each column; `shapes` by the nodes' names. Returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target not in NEAREST:
            continue
        source: Any = node.args[0]
        old, new = shapes[source.name], shapes[node.name]
        if len(old) != 4 or any(b % a for a, b in zip(old[2:], new[2:], strict=True)):
            continue
        with module.graph.inserting_before(node):
            value = _stretched(module, source, [old[0] * old[1], old[2], old[3]], new[2] // old[2])
            value = _stretched(module, value, [old[0] * old[1] * new[2], old[3], 1], new[3] // old[3])
            value = _moved(module, aten.reshape.default, (value, list(new)), source)
        node.replace_all_uses_with(value)
        module.graph.erase_node(node)
        count += 1
    module.recompile()
    return count


def slices_without_step(module: fx.GraphModule, shapes: dict[str, tuple[int, ...]]) -> int:
    """Every k-th entry of an axis: the axis becomes two, and one entry of the second is taken. Returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        given: tuple[Any, ...] = (*node.args, *(0, 0, None, 1)[len(node.args) - 1 :]) if _is_slice(node) else ()
        if not given or given[4] == 1:
            continue
        source, axis, start, _, step = given
        old, new = list(shapes[source.name]), list(shapes[node.name])
        axis %= len(old)
        start = min(max(start or 0, 0) if (start or 0) >= 0 else start + old[axis], old[axis])
        if old[axis] % step or new[axis] != old[axis] // step:
            continue  # the last step is a short one
        apart = [*old[:axis], new[axis], step, *old[axis + 1 :]]
        with module.graph.inserting_before(node):
            value = _moved(module, aten.reshape.default, (source, apart), source)
            value = _moved(module, aten.slice.Tensor, (value, axis + 1, start, start + 1), source)
            value = module.graph.call_function(aten.reshape.default, (value, new))
        node.replace_all_uses_with(value)
        module.graph.erase_node(node)
        count += 1
    module.recompile()
    return count


def _is_slice(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is aten.slice.Tensor and not node.kwargs


def distinct_concatenation(module: fx.GraphModule) -> int:
    """What is concatenated with itself is read twice: the delegate's partitioner counts a concatenation's inputs as a set. Returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        parts: Any = node.args[0] if node.target is aten.cat.default else ()
        if len(parts) == len(set(parts)) or any(part.target is not DEQUANTIZE for part in parts):
            continue
        with module.graph.inserting_before(node):
            copies = [module.graph.call_function(DEQUANTIZE, part.args, part.kwargs) for part in parts]
        node.args = (copies, *node.args[1:])
        count += 1
    module.recompile()
    return count


def _stretched(module: fx.GraphModule, x: fx.Node, shape: Sequence[int], times: int) -> fx.Node:
    """A value of this shape, each entry of its second axis `times` times."""
    if times == 1:
        return x
    rows = [shape[0] * shape[1], 1, shape[2]]
    value = _moved(module, aten.reshape.default, (x, rows), x)
    while times > 1:
        step = next(n for n in (4, 3, 2, times) if times % n == 0)  # XNNPACK concatenates up to five
        value = _moved(module, aten.cat.default, ([value] * step, 1), x)
        times //= step
    return value


def _moved(module: fx.GraphModule, target: Any, args: tuple[Any, ...], source: fx.Node) -> fx.Node:
    """A move, quantized as `source` is, where that is a quantized value."""
    value = module.graph.call_function(target, args)
    if source.target is not DEQUANTIZE:
        return value
    parameters = source.args[1:]
    return module.graph.call_function(
        DEQUANTIZE, (module.graph.call_function(QUANTIZE, (value, *parameters)), *parameters)
    )
