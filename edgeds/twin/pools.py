"""Pooling in windows over integers [N, H, W, C] or [N, C, H, W]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeds.twin.accumulate import Window
from edgeds.twin.convolution import Clip

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute


def max_pool(size: tuple[int, int], window: Window, least: int, channels_last: bool = True) -> Compute:
    """The largest of each window; the padding is `least`, which no integer is below."""
    import torch.nn.functional as F

    top, bottom, left, right = window.padding

    def compute(given: torch.Tensor) -> torch.Tensor:
        import torch

        image = (given.permute(0, 3, 1, 2) if channels_last else given).to(torch.float32)
        padded = F.pad(image, (left, right, top, bottom), value=float(least))
        largest = F.max_pool2d(padded, size, window.stride, 0, window.dilation).to(given.dtype)
        return largest.permute(0, 2, 3, 1) if channels_last else largest

    return compute


def tflite_average_pool(size: tuple[int, int], window: Window, clip: Clip) -> Compute:
    """Σ x / count in integers, halves away from zero, over the elements of the window that lie inside the image.

    Input and output have one scale (reference_integer_ops::AveragePool; XNNPACK has no int8 average pool).
    """
    import torch.nn.functional as F

    top, bottom, left, right = window.padding

    def windows(image: torch.Tensor) -> torch.Tensor:
        padded = F.pad(image, (left, right, top, bottom))
        return F.avg_pool2d(padded, size, window.stride, divisor_override=1)

    def compute(given: torch.Tensor) -> torch.Tensor:
        import torch

        image = given.permute(0, 3, 1, 2).to(torch.float32)
        count = windows(torch.ones_like(image[:1, :1])).to(torch.int32)
        sums = windows(image).to(torch.int32)
        half = torch.div(count, 2, rounding_mode="floor")
        mean = torch.div(sums + torch.where(sums > 0, half, -half), count, rounding_mode="trunc")
        return mean.clamp_(clip.low, clip.high).to(given.dtype).permute(0, 2, 3, 1)

    return compute
