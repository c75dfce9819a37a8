"""A bias that several layers share gets a copy for each, for the converter that would quantize it once.

executorch 1.5.1 quantizes a shared bias to int32 with the input scale of the first layer that reads it, and hands the result to the others,
whose input scales differ: silently wrong (a linear layer called three times: 12 dB instead of 40).
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten
BIASED = {aten.conv1d.default, aten.conv2d.default, aten.conv_transpose2d.input, aten.linear.default}


def own_bias(module: fx.GraphModule) -> int:
    """Gives each layer a bias that no other one reads. Exact; returns how many copies it made."""
    seen: set[str] = set()
    count = 0
    for node in list(module.graph.nodes):
        bias: Any = node.args[2] if node.target in BIASED and len(node.args) > 2 else None
        if not isinstance(bias, fx.Node) or bias.op != "get_attr":
            continue
        if str(bias.target) in seen:
            count += 1
            name = next(name for k in itertools.count() if not hasattr(module, name := f"own_bias_{k}"))
            module.register_parameter(name, torch.nn.Parameter(_tensor(module, bias).clone(), requires_grad=False))
            with module.graph.inserting_before(node):
                copy = module.graph.get_attr(name)
            node.args = (*node.args[:2], copy, *node.args[3:])
        seen.add(str(bias.target))
    module.graph.eliminate_dead_code()
    module.recompile()
    return count


def _tensor(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, torch.Tensor)
    return value.detach()
