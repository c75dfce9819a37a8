"""Convolution, depthwise convolution and linear layers. XNNPACK on x86 and ONNX Runtime compute them alike.

Sums are exact int32; float32(sum) · scale, round half to even, plus zero point, clipped. The scale of a channel is s_x · s_w / s_y in
float32, in this order (XNNPACK: `requantization_scale` in src/operators/convolution-nhwc.c; ONNX Runtime: qlinearconv.cc).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeds.spec import Array
from edgeds.twin import accumulate
from edgeds.twin.accumulate import Window
from edgeds.twin.graph import Quantization
from edgeds.twin.requantize import integers, rescaled

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """int8 [O, I / groups, kh, kw] or [O, I], symmetric; `scale`: float32 [O] or [1]; `bias`: int32 [O] or None."""

    integers: Array
    scale: Array
    bias: Array | None


@dataclass(frozen=True, slots=True)
class Clip:
    """The least and the largest output: an activation (ReLU, ReLU6) that is fused into the layer; None where the type decides."""

    low: int | None = None
    high: int | None = None

    @classmethod
    def between(cls, low: float, high: float, y: Quantization) -> Clip:
        """From real values, which may be infinite, as XNNPACK quantizes them: round(value / s_y) + z_y, within the type."""
        ends = (np.rint(np.float32(real) / np.float32(y.scale)) + y.zero_point for real in (low, high))
        return cls(*(int(np.clip(end, y.low, y.high)) for end in ends))


NO_CLIP = Clip()


def convolution(
    weights: Weights, window: Window, x: Quantization, y: Quantization, clip: Clip = NO_CLIP, channels_last: bool = True
) -> Compute:
    """From integers [N, H, W, C] (or [N, C, H, W]) to integers [N, H', W', O] (or [N, O, H', W'])."""
    sums = accumulate.convolution(weights.integers, weights.bias, x, window)
    scale = _scale(weights, x, y).reshape(-1, 1, 1)

    def compute(given: torch.Tensor) -> torch.Tensor:
        image = given.permute(0, 3, 1, 2) if channels_last else given
        result = integers(rescaled(sums(image), scale), y, clip.low, clip.high)
        return result.permute(0, 2, 3, 1) if channels_last else result

    return compute


def linear(weights: Weights, x: Quantization, y: Quantization, clip: Clip = NO_CLIP) -> Compute:
    """From integers [..., I] to integers [..., O]."""
    sums = accumulate.linear(weights.integers, weights.bias, x)
    scale = _scale(weights, x, y)
    return lambda given: integers(rescaled(sums(given), scale), y, clip.low, clip.high)


def _scale(weights: Weights, x: Quantization, y: Quantization) -> torch.Tensor:
    import torch

    scale = np.float32(x.scale) * weights.scale.astype(np.float32) / np.float32(y.scale)
    return torch.from_numpy(np.atleast_1d(scale.astype(np.float32)))
