"""Sums and differences of two quantized tensors: fixed point in XNNPACK and in ONNX Runtime on ARM, fused float32 products in it on x86.

So ONNX Runtime's sums are the only ones that differ between the machines, by one step for one value in 10,000 or so of MobileNetV2's,
where the exact sum lies next to a half. Later layers make more of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
    """a + b as MLAS does on x86: fma(a, r_a, fma(b, r_b, z_y - fma(r_a, z_a, r_b · z_b))), rounded half to even, saturated.

    r_a is s_a / s_y, and r_b is s_b / s_y. Where a is one number for many of b, the two change places
    (onnxruntime/core/mlas/lib/intrinsics/avx2/qladd_avx2.cpp; that the zero points' products are fused is the compiler's doing).
    """
    one_way, other_way = _mlas_sum(a, b, y), _mlas_sum(b, a, y)
    return lambda left, right: other_way(right, left) if _is_repeated(left, right) else one_way(left, right)


def _mlas_sum(
    a: Quantization, b: Quantization, y: Quantization
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    r_a, r_b = (np.float32(x.scale) / np.float32(y.scale) for x in (a, b))
    points = np.float64(r_a) * a.zero_point + np.float64(r_b * np.float32(b.zero_point))
    fixed = np.float32(y.zero_point) - np.float32(points)

    def compute(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        outer = _fused(left, float(r_a), _fused(right, float(r_b), float(fixed)))
        return outer.round_().clamp_(y.low, y.high).to(left.dtype)

    return compute


def _fused(x: torch.Tensor, factor: float, addend: torch.Tensor | float) -> torch.Tensor:
    """An FMA. A product of 8 and 24 bits plus 24 bits of like size is exact in float64, and rounded once."""
    import torch

    return x.to(torch.float64).mul_(factor).add(addend).to(torch.float32)


def _is_repeated(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether one number of `left` meets a run of those of `right`."""
    sizes = zip(reversed(left.shape), reversed(right.shape), strict=False)
    return next((one == 1 for one, other in sizes if (one, other) != (1, 1)), left.ndim < right.ndim)
