"""Sums of integer products, exact: float arithmetic whose every partial sum provably fits the mantissa."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeds.spec import Array
from edgeds.twin.graph import Quantization

if TYPE_CHECKING:
    import torch

    Accumulator = Callable[[torch.Tensor], torch.Tensor]

FLOAT32_EXACT = 2**24


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel moves over an image: strides, dilations, and padding as (top, bottom, left, right)."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


def convolution(weights: Array, bias: Array | None, x: Quantization, window: Window) -> Accumulator:
    """The function from integers [N, C, H, W] to Σ (x - zero point) · w + bias, [N, O, H', W'], padded with the zero point.

    weights: int8 [O, C / groups, kh, kw]. bias: int32 [O] or None. The result is float32 where all sums are below 2^24, else float64.
    """
    import torch.nn.functional as F

    kind = _exact_type(weights, bias, x)
    kernel = _constant(weights, kind)
    added = None if bias is None else _constant(bias, kind)
    top, bottom, left, right = window.padding

    def accumulate(given: torch.Tensor) -> torch.Tensor:
        centred = given.to(kind).sub_(x.zero_point)
        padding = (top, left)
        if (top, left) != (bottom, right):
            centred, padding = F.pad(centred, (left, right, top, bottom)), (0, 0)
        return F.conv2d(centred, kernel, added, window.stride, padding, window.dilation, window.groups)

    return accumulate


def linear(weights: Array, bias: Array | None, x: Quantization) -> Accumulator:
    """The function from integers [..., I] to Σ (x - zero point) · w + bias, [..., O]. weights: int8 [O, I]."""
    import torch.nn.functional as F

    kind = _exact_type(weights, bias, x)
    matrix = _constant(weights, kind)
    added = None if bias is None else _constant(bias, kind)
    return lambda given: F.linear(given.to(kind).sub_(x.zero_point), matrix, added)


def _exact_type(weights: Array, bias: Array | None, x: Quantization) -> torch.dtype:
    """float32 where no partial sum, in whatever order, reaches 2^24; float64 has room for any int32."""
    import torch

    largest = max(x.high - x.zero_point, x.zero_point - x.low)
    sums = np.abs(weights.reshape(len(weights), -1).astype(np.int64)).sum(axis=1) * largest
    if bias is not None:
        sums = sums + np.abs(bias.astype(np.int64))
    return torch.float32 if int(sums.max(initial=0)) < FLOAT32_EXACT else torch.float64


def _constant(array: Array, kind: torch.dtype) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.array(array)).to(kind)  # a copy, for a file's content is read-only
