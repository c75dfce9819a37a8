"""How a quantized activation uses its 256 steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeds.spec import Array
from edgeds.twin import Quantization


@dataclass(frozen=True, slots=True)
class Ranges:
    """`spread` is the range as a multiple of what the median channel takes of it, `saturated` the share of elements that lie outside of
    it in the float model; `dead` of `channels` never change."""

    spread: float
    saturated: float
    dead: int
    channels: int


def ranges(value: Array, true: Array, by: Quantization) -> Ranges:
    """Of real values [N, C, ...] that are quantized so, and would be `true` without: what a clamp puts at an end of the range is not lost."""
    low, high = ((end - by.zero_point + beyond) * by.scale for end, beyond in ((by.low, -0.5), (by.high, 0.5)))
    channels = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1) if value.ndim > 1 else value.reshape(1, -1)
    widths = channels.max(axis=1) - channels.min(axis=1)
    alive = widths[widths > 0]
    return Ranges(
        spread=float((by.high - by.low) * by.scale / np.median(alive)) if len(alive) else float("inf"),
        saturated=float(((true < low) | (true > high)).mean()),
        dead=int((widths == 0).sum()),
        channels=len(widths),
    )
