"""Products of two quantized tensors: an exact int32 product, scaled in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeds.twin.graph import Quantization
from edgeds.twin.requantize import integers

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute


def xnnpack_multiplication(a: Quantization, b: Quantization, y: Quantization) -> Compute:
    """(a - z_a) · (b - z_b) · float32(s_a · s_b / s_y), half to even, then the zero point (x86: xnn_qs8_vmul_minmax_fp32)."""
    scale = _scale(a, b, y)
    return lambda left, right: integers(_product(left, right, a, b).mul_(scale), y)


def mlas_multiplication(a: Quantization, b: Quantization, y: Quantization) -> Compute:
    """The same, but the zero point is added in float32 before rounding (onnxruntime/core/mlas/lib/qlmul.cpp, SSE2)."""
    scale = _scale(a, b, y)

    def compute(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        real = _product(left, right, a, b).mul_(scale).add_(y.zero_point)
        return real.round_().clamp_(y.low, y.high).to(left.dtype)

    return compute


def _scale(a: Quantization, b: Quantization, y: Quantization) -> float:
    return float(np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale))


def _product(left: torch.Tensor, right: torch.Tensor, a: Quantization, b: Quantization) -> torch.Tensor:
    """Exact: at most 16 bits."""
    import torch

    return left.to(torch.float32).sub_(a.zero_point) * right.to(torch.float32).sub_(b.zero_point)
