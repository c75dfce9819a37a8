"""Linear layers over the last axis of a channels-last image become 1x1 convolutions of a channels-first one.

ConvNeXt's blocks go permute → norm → linear → activation → linear → permute. XNNPACK and LiteRT keep images channels last in any case: as
convolutions no permutation is left. Each operator is rewritten between two permutations; those of neighbours cancel out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor, arguments, call, is_constant, shape_of, substitute
from edgeds.quantize.canonical.pointwise import POINTWISE

aten = torch.ops.aten
TO_LAST = [0, 2, 3, 1]
TO_FIRST = [0, 3, 1, 2]


def channels_last(module: fx.GraphModule) -> int:
    """Rewrites what follows a permutation to channels last. Equal up to rounding; returns how many operators."""
    count = 0
    for node in list(module.graph.nodes):
        rule = RULES.get(node.target) if node.op == "call_function" else None
        if rule is None or len(shape_of(node)) != 4 or not _reads_channels_last(node):
            continue
        with module.graph.inserting_before(node):
            first = rule(module, node)
            if first is None:
                continue
            last = _permuted(module, node, first, TO_LAST)
        substitute(module, node, last)
        count += 1
    return count


def norm_between_permutations(module: fx.GraphModule) -> int:
    """Puts a pair of permutations that cancel out behind each layer_norm of a channels-last image, where `channels_last` takes over.

    Exact; returns how many.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.layer_norm.default and len(shape_of(node)) == 4 and _is_to_last(node.args[0]):
            readers = list(node.users)
            with module.graph.inserting_after(node):
                first = _permuted(module, node, node, TO_FIRST)
            with module.graph.inserting_after(first):
                last = _permuted(module, node, first, TO_LAST)
            for reader in readers:
                reader.replace_input_with(node, last)
            count += 1
    return count


def _is_to_last(node: Any) -> bool:
    is_permutation = isinstance(node, fx.Node) and node.target is aten.permute.default
    return is_permutation and list(node.args[1]) == TO_LAST


def _reads_channels_last(node: fx.Node) -> bool:
    values = [x for x in node.all_input_nodes if not is_constant(x)]
    return bool(values) and all(map(_is_to_last, values))


def _permuted(module: fx.GraphModule, node: fx.Node, x: fx.Node, order: list[int]) -> fx.Node:
    shape = [shape_of(x)[axis] for axis in order]
    return call(module, aten.permute.default, (x, order), like=x, shape=shape, module_of=node)


def _linear(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    given = arguments(node)
    if not is_constant(given["weight"]):
        return None
    source = given["input"].args[0]
    weight = add_tensor(module, "conv_weight", tensor_of(module, given["weight"])[:, :, None, None])
    shape = (*shape_of(source)[:1], weight.meta["val"].shape[0], *shape_of(source)[2:])
    args = (source, weight, given["bias"])
    return call(module, aten.conv2d.default, args, like=source, shape=shape, module_of=node)


def _pointwise(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The same operator of channels-first values; constants are turned too."""

    def first(argument: fx.Node) -> fx.Node:
        if not is_constant(argument):
            return argument.args[0]  # type: ignore[return-value]  # a permutation's input
        value = tensor_of(module, argument)
        full = value.reshape(*[1] * (4 - value.ndim), *value.shape)
        return add_tensor(module, "table", full.permute(TO_FIRST))

    args = fx.map_arg(node.args, first)
    shape = [shape_of(node)[axis] for axis in TO_FIRST]
    made = call(module, node.target, args, like=node, shape=shape)
    made.kwargs = node.kwargs
    return made


Rule = Callable[[fx.GraphModule, fx.Node], fx.Node | None]
RULES: dict[Any, Rule] = {aten.linear.default: _linear, **dict.fromkeys(POINTWISE, _pointwise)}
