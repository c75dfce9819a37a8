"""From an exact sum of products to an 8-bit integer, the way that XNNPACK on x86 and ONNX Runtime both take: one float32 product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeds.twin.graph import Quantization

if TYPE_CHECKING:
    import torch


def integers(scaled: torch.Tensor, to: Quantization, low: int | None = None, high: int | None = None) -> torch.Tensor:
    """round(scaled) + zero point, half to even, clipped to `low` and `high` (to.dtype's where None). Overwrites `scaled`, float32.

    Clipping before the zero point is added keeps float32 exact, and gives what saturating packs do.
    """
    import torch

    kind = torch.int8 if to.dtype == "int8" else torch.uint8
    floor = (to.low if low is None else low) - to.zero_point
    ceiling = (to.high if high is None else high) - to.zero_point
    return scaled.round_().clamp_(floor, ceiling).add_(to.zero_point).to(kind)


def rescaled(sums: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
    """float32(sum) · scale in float32. `sums` are integers in float32 or float64, overwritten where they are float32."""
    import torch

    return sums.to(torch.float32).mul_(scale)
