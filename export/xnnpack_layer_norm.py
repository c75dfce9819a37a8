"""layer_norm out of what XNNPACK computes in float, so that it stays inside of the delegate: no runtime has it in integers.

executorch's own kernel would end the delegate before each norm and start another one behind it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import fx

from edgeds.program import tensor_of

aten = torch.ops.aten
decomposed = torch.ops.quantized_decomposed

QUANTIZE = decomposed.quantize_per_tensor.default
DEQUANTIZE = decomposed.dequantize_per_tensor.default
TO_LAST = [0, 2, 3, 1]
TO_FIRST = [0, 3, 1, 2]
PERMUTATIONS = {aten.permute.default, aten.permute_copy.default}


def layer_norm_in_pieces(module: fx.GraphModule) -> int:
    """(x - mean) / sqrt(variance + eps) · weight + bias, both means as layers with equal weights. Returns how many.

    Between a permutation to channels last and one back, the norm is computed channels first: XNNPACK has images channels last anyway.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.layer_norm.default:
            continue
        shape = [int(size) for size in node.args[1]]
        source, end = _around(node) if len(shape) == 1 else (None, None)
        x: Any = node.args[0] if source is None else source
        with module.graph.inserting_before(node):
            value = _normalized(module, node, x, shape, image=source is not None)
        (node if end is None else end).replace_all_uses_with(value)
        count += 1
    module.graph.eliminate_dead_code()
    module.recompile()
    return count


def _normalized(module: fx.GraphModule, node: fx.Node, x: fx.Node, shape: list[int], image: bool) -> fx.Node:
    call = module.graph.call_function
    given: list[Any] = [*node.args[2:5]]
    defaults: list[Any] = [None, None, 1e-5]
    weight, bias, eps = given + defaults[len(given) :]
    mean = _mean(module, x, shape, 0.0, image)
    centred = call(aten.sub.Tensor, (x, mean))
    variance = _mean(module, call(aten.mul.Tensor, (centred, centred)), shape, float(eps), image)
    value = call(aten.mul.Tensor, (centred, call(aten.rsqrt.default, (variance,))))
    for target, constant in ((aten.mul.Tensor, weight), (aten.add.Tensor, bias)):
        if constant is not None:
            value = call(target, (value, _table(module, constant, image)))
    return value


def _mean(module: fx.GraphModule, x: fx.Node, shape: list[int], offset: float, image: bool) -> fx.Node:
    """The mean over the last axis (of an image: over the channels) plus `offset`, as a layer with one output."""
    weight = torch.full((1, prod(shape), 1, 1) if image else (1, prod(shape)), 1 / prod(shape))
    target = aten.conv2d.default if image else aten.linear.default
    args = (x, _constant(module, weight), _constant(module, torch.tensor([offset])))
    return module.graph.call_function(target, args)


def _table(module: fx.GraphModule, node: Any, image: bool) -> fx.Node:
    return _constant(module, tensor_of(module, node).reshape(1, -1, 1, 1)) if image else node


def _constant(module: fx.GraphModule, value: torch.Tensor) -> fx.Node:
    name = f"layer_norm_{len(list(module.buffers()))}"
    module.register_buffer(name, value.contiguous())
    return module.graph.get_attr(name)


def _around(node: fx.Node) -> tuple[Any, Any]:
    """The channels-first value that a norm reads and the channels-first node that reads it, where it stands between two permutations."""
    before = _skip(node.args[0], back=True)
    behind = _skip(node, back=False)
    is_between = _is_permutation(before, TO_LAST) and _is_permutation(behind, TO_FIRST)
    return (before.args[0], behind) if is_between else (None, None)


def _skip(node: Any, back: bool) -> Any:
    """The next operator that is no quantization, going up from an input or down from an output with one reader."""
    if back:
        while isinstance(node, fx.Node) and node.target in (QUANTIZE, DEQUANTIZE):
            node = node.args[0]
        return node
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.target not in (QUANTIZE, DEQUANTIZE):
            return node
    return None


def _is_permutation(node: Any, order: list[int]) -> bool:
    return isinstance(node, fx.Node) and node.target in PERMUTATIONS and list(node.args[1]) == order  # type: ignore[arg-type]
