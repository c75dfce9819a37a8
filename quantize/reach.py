"""How far a channel may reach on data that calibration has not seen.

A channel that is silent on a hundred calibration images fires on others: scaled by what calibration saw, it is clipped then (EfficientNet-Lite0
fell to 11 dB). Batch-norm has seen the training set: it knows the mean and the deviation of each channel.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.quantize.fold_batch_norm import NORM
from edgeds.quantize.tail import has_few_elements, level
from edgeds.quantize.watch import Statistics

# A channel may reach as many deviations as this share of its layer's channels does on the calibration samples.
SHARE = 0.9
# A clamp's limit is approached up to this share of it only: of the reach, and where there is no batch-norm, of what calibration saw.
# EfficientNet-Lite0, equalized, in float on other photos against itself as it was: 29 dB with 1.0, 36 dB with 0.75 (2026-11).
MARGIN = 0.75


def reach(node: fx.Node, seen: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
    """How far below and above 0 each channel of a layer's output may reach, float32 [C], both at least 0."""
    low, high = seen_reach(node, seen)
    if NORM not in node.meta:
        return low, high
    mean, deviation = node.meta[NORM]
    deviation = deviation.clamp_min(1e-12)
    above = mean + deviation * _usual((seen.high - mean) / deviation)
    below = deviation * _usual((mean - seen.low) / deviation) - mean
    return torch.maximum(low, below), torch.maximum(high, above)


def seen_reach(node: fx.Node, seen: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of any value, from what calibration saw of it: of values of which a sample has few, a little further (edgeds.quantize.tail)."""
    below, above = (-seen.low).clamp_min(0), seen.high.clamp_min(0)
    if not has_few_elements(node):
        return below, above
    low, high = level(-seen.mean, seen.mean_square), level(seen.mean, seen.mean_square)
    return torch.where(below > 0, torch.maximum(below, low), below), torch.where(
        above > 0, torch.maximum(above, high), above
    )


def _usual(deviations: torch.Tensor) -> torch.Tensor:
    return torch.quantile(deviations, SHARE).clamp_min(0)
