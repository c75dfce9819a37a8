"""Means: over axes and whole images in XNNPACK and ONNX Runtime, in windows in TFLite's own kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeds.twin.graph import Quantization
from edgeds.twin.requantize import integers

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute


def xnnpack_mean(x: Quantization, y: Quantization, axes: Sequence[int], keep: bool, count: int) -> Compute:
    """round(Σ x · k + (z_y - count · z_x · k)) with k = s_x / s_y · (1 / count), all in float32, over `count` elements.

    (xnn_reshape_reduce_nd in src/operators/reduce-nd.c puts both zero points into one float32.)
    """
    factor = np.float32(x.scale) / np.float32(y.scale) * (np.float32(1) / np.float32(count))
    offset = np.float32(y.zero_point) - np.float32(count * x.zero_point) * factor

    def compute(given: torch.Tensor) -> torch.Tensor:
        import torch

        sums = given.sum(dim=tuple(axes), keepdim=keep, dtype=torch.int32).to(torch.float32)
        return sums.mul_(float(factor)).add_(float(offset)).round_().clamp_(y.low, y.high).to(given.dtype)

    return compute


def mlas_global_mean(x: Quantization, y: Quantization, axes: Sequence[int], count: int) -> Compute:
    """round((Σ x - count · z_x) · k) + z_y with k = s_x / (s_y · count) in float32 (onnxruntime/core/mlas/lib/qlgavgpool.cpp, SSE2)."""
    factor = np.float32(x.scale) / (np.float32(y.scale) * np.float32(count))

    def compute(given: torch.Tensor) -> torch.Tensor:
        import torch

        sums = given.sum(dim=tuple(axes), keepdim=True, dtype=torch.int32).sub_(count * x.zero_point)
        return integers(sums.to(torch.float32).mul_(float(factor)), y)

    return compute
