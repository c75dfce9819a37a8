"""mish out of what each runtime computes in float between two int8 tensors: neither XNNPACK nor LiteRT has it.

executorch's own pieces (log1p, where) leave the delegate. litert-torch's are a softplus and a tanh, which its converter gives int8 values
and scales of its own in between: up to 35 steps off.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten
LARGEST = 20.0  # above, mish's gate is 1 in float32; exp would overflow at 88


def mish_in_pieces(module: fx.GraphModule) -> int:
    """x · n / (n + 2) with w = exp(x), n = w (w + 2), for tanh(log(1 + w)) = n / (n + 2). Returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.mish.default:
            continue
        x: Any = node.args[0]
        call = module.graph.call_function
        with module.graph.inserting_before(node):
            w = call(aten.exp.default, (call(aten.clamp.default, (x, None, LARGEST)),))
            n = call(aten.mul.Tensor, (w, call(aten.add.Tensor, (w, 2.0))))
            gate = call(aten.div.Tensor, (n, call(aten.add.Tensor, (n, 2.0))))
            product = call(aten.mul.Tensor, (x, gate))
        node.replace_all_uses_with(product)
        count += 1
    module.graph.eliminate_dead_code()
    module.recompile()
    return count
