"""By how much equalization has scaled each channel of a value (see edgeds.quantize.equalize): the graph that it leaves does not say."""

from __future__ import annotations

import numpy as np

from edgeds.spec import Array


def channel_factors(scaled: Array, true: Array) -> Array:
    """[1, C, 1, ...]: what the channels of `true` [N, C, ...] are to be multiplied with to be nearest to those of `scaled`, at least 1e-3.

    Least squares, so that what one number a channel can explain of an error is taken for scaling. 1 where a channel is 0.
    """
    if true.ndim < 2:
        return np.ones([1] * true.ndim, np.float32)
    axes = (0, *range(2, true.ndim))
    power = np.square(true, dtype=np.float64).sum(axis=axes, keepdims=True)
    product = (true.astype(np.float64) * scaled).sum(axis=axes, keepdims=True)
    factors: Array = np.where(power > 0, product / np.where(power > 0, power, 1), 1).clip(1e-3).astype(np.float32)
    return factors
