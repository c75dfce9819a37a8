"""int8 weights that two layers read with other scales get a copy for each, for the converter that reads them with the scales of the first layer.

Equal int8 weights are one constant in the quantized graph, whatever their scales: a line a channel (a batch-norm without a convolution) has 127
everywhere. executorch 1.5.1 hands the first reader's scales to every other: silently wrong (two batch-norms of one value: 6 dB instead of 51).
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import fx

from edgeds.program import tensor_of

decomposed = torch.ops.quantized_decomposed
READERS = {decomposed.dequantize_per_channel.default, decomposed.dequantize_per_tensor.default}


def own_weights(module: fx.GraphModule) -> int:
    """Gives each dequantization of a constant one that nobody reads with other scales. Exact; returns how many copies it made."""
    scales: dict[str, list[Any]] = {}
    count = 0
    for node in list(module.graph.nodes):
        weight: Any = node.args[0] if node.op == "call_function" and node.target in READERS else None
        if not isinstance(weight, fx.Node) or weight.op != "get_attr":
            continue
        own = scales.setdefault(str(weight.target), _parameters(module, node))
        if own != _parameters(module, node):
            name = next(name for k in itertools.count() if not hasattr(module, name := f"own_weight_{k}"))
            module.register_buffer(name, tensor_of(module, weight).clone())
            with module.graph.inserting_before(node):
                copy = module.graph.get_attr(name)
            node.args = (copy, *node.args[1:])
            count += 1
    module.graph.eliminate_dead_code()
    module.recompile()
    return count


def _parameters(module: fx.GraphModule, node: fx.Node) -> list[Any]:
    return [tensor_of(module, x).tolist() if isinstance(x, fx.Node) else x for x in node.args[1:]]
