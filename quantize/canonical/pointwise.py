"""Operators that compute each element from the same element of their inputs: they may be done in another view of these."""

from __future__ import annotations

import torch

aten = torch.ops.aten

POINTWISE = {
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.gelu.default,
    aten.sigmoid.default,
    aten.tanh.default,
    aten.leaky_relu.default,
    aten.elu.default,
    aten.mish.default,
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.silu.default,
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
}
