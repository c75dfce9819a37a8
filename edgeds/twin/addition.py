"""Sums and differences of two quantized tensors: fixed point in XNNPACK and in ONNX Runtime on ARM, fused float32 products in it on x86.

So ONNX Runtime's sums are the only ones that differ between the machines, by one step for one value in 10,000 or so of MobileNetV2's,
where the exact sum lies next to a half. Later layers make more of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeds.errors import ModelError
from edgeds.twin.graph import Quantization

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute

MULTIPLIER_BITS = 20
NEON_MULTIPLIER_BITS = 21


def xnnpack_addition(a: Quantization, b: Quantization, y: Quantization, sign: int = 1) -> Compute:
    """a + sign · b, in int32: (bias + a · m_a + b · m_b) >> shift, plus zero point, clipped.

    The multipliers are s_a / s_y and s_b / s_y times 2^shift, the larger one in [2^20, 2^21); the bias rounds half up and takes the
    zero points away (xnn_init_qs8_add_minmax_scalar_params, the same for all instruction sets).
    """
    ratios = [np.float32(x.scale) / np.float32(y.scale) for x in (a, b)]
    shift = MULTIPLIER_BITS - (math.frexp(float(max(ratios)))[1] - 1)
    m_a, m_b = (int(np.rint(np.ldexp(float(ratio), shift))) for ratio in ratios)
    m_b *= sign
    bias = (1 << (shift - 1)) - m_a * a.zero_point - m_b * b.zero_point

    def compute(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        import torch

        sums = left.to(torch.int32) * m_a + right.to(torch.int32) * m_b + bias
        return (sums >> shift).add_(y.zero_point).clamp_(y.low, y.high).to(left.dtype)

    return compute


def mlas_neon_addition(a: Quantization, b: Quantization, y: Quantization) -> Compute:
    """a + b as MLAS does on ARM: (a · m_a + b · m_b, zero points taken away) >> shift, halves up, plus zero point, saturated.

    The multipliers are s_a / s_y and s_b / s_y times 2^shift, the larger one in [2^21, 2^22) (onnxruntime/core/mlas/lib/qladd.cpp and
    qladd.h, MlasCalcQLinearAddParameters). ModelError for ratios that it computes otherwise.
    """
    ratios = [np.float32(x.scale) / np.float32(y.scale) for x in (a, b)]
    if not all(2.0**-14 <= ratio < 2.0**8 for ratio in ratios):
        raise ModelError("its scales lie too far apart")
    shift = NEON_MULTIPLIER_BITS - (math.frexp(float(max(ratios)))[1] - 1)
    m_a, m_b = (int(np.rint(np.ldexp(float(ratio), shift))) for ratio in ratios)
    fixed = (1 << (shift - 1)) - m_a * a.zero_point - m_b * b.zero_point

    def compute(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        import torch

        sums = left.to(torch.int64) * m_a + right.to(torch.int64) * m_b + fixed
        return (sums >> shift).add_(y.zero_point).clamp_(y.low, y.high).to(left.dtype)

    return compute


def mlas_addition(a: Quantization, b: Quantization, y: Quantization) -> Compute:
    """a + b as MLAS does on x86 with FMA: fma(a, s_a / s_y, fma(b, s_b / s_y, fixed part)), rounded half to even, saturated.

    A product of 8 and 24 bits, added to 24 bits of like size, is exact in float64: rounding that to float32 is what an FMA gives
    (onnxruntime/core/mlas/lib/intrinsics/avx2/qladd_avx2.cpp).
    """
    r_a, r_b = (np.float32(x.scale) / np.float32(y.scale) for x in (a, b))
    fixed = np.float32(y.zero_point) - (r_a * np.float32(a.zero_point) + r_b * np.float32(b.zero_point))

    def compute(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        import torch

        inner = right.to(torch.float64).mul_(float(r_b)).add_(float(fixed)).to(torch.float32)
        outer = (left.to(torch.float64).mul_(float(r_a)) + inner).to(torch.float32)
        return outer.round_().clamp_(y.low, y.high).to(left.dtype)

    return compute
