"""How far a few values may reach that more of them would: the theory of extremes.

The largest of many draws follows Gumbel's distribution where their tail falls like a normal or an exponential one (Coles, An Introduction to
Statistical Modeling of Extreme Values, 2001, chapter 3). Fitted by its mean and deviation, it tells the level that one draw in `PERIOD` exceeds.
"""

from __future__ import annotations

import math

import torch
from torch import fx

from edgeds.quantize.canonical.edit import shape_of
from edgeds.quantize.channels import clamp_bounds
from edgeds.quantize.operators import CLAMPS

PERIOD = 200
_EULER = 0.5772156649
# Of Gumbel's distribution: mean + DEVIATIONS · deviation is exceeded once in PERIOD.
DEVIATIONS = math.sqrt(6) / math.pi * (-math.log(-math.log1p(-1 / PERIOD)) - _EULER)


def level(mean: torch.Tensor, mean_square: torch.Tensor) -> torch.Tensor:
    """What one draw in PERIOD exceeds, of draws with these first two moments."""
    return mean + DEVIATIONS * (mean_square - mean.square()).clamp_min(0).sqrt()


def level_of(draws: torch.Tensor) -> float:
    """The level of draws [N], no less than the greatest of them."""
    return max(float(draws.max()), float(level(draws.mean(), draws.square().mean())))


def has_few_elements(value: fx.Node) -> bool:
    """Whether a sample has one element of each channel, not a map of them, and no clamp bounds them above."""
    shape = shape_of(value)
    bounded = value.target in CLAMPS and math.isfinite(clamp_bounds(value)[1])
    return not bounded and len(shape) > 1 and set(shape[2:]) <= {1}
