"""How a quantized activation uses its 256 steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeds.spec import Array
from edgeds.twin import Quantization


@dataclass(frozen=True, slots=True)
class Ranges:
    """`spread` is the range as a multiple of what the median channel takes of it, `saturated` the share of elements at an end of the
    range that no ReLU puts there; `dead` of `channels` never change."""

    spread: float
    saturated: float
    dead: int
    channels: int


def ranges(value: Array, by: Quantization) -> Ranges:
    """Of real values [N, C, ...] that are quantized so."""
    steps = np.rint(value / np.float32(by.scale)) + by.zero_point
    channels = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1) if value.ndim > 1 else value.reshape(1, -1)
    widths = channels.max(axis=1) - channels.min(axis=1)
    alive = widths[widths > 0]
    lost = (steps == by.high) | ((steps == by.low) & (value < 0))  # what a ReLU makes 0 is not lost
    return Ranges(
        spread=float((by.high - by.low) * by.scale / np.median(alive)) if len(alive) else float("inf"),
        saturated=float(lost.mean()),
        dead=int((widths == 0).sum()),
        channels=len(widths),
    )
