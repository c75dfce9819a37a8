"""Functions of one value: 256 integers in, so a table of 256 integers out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edgeds.spec import Array
from edgeds.twin.graph import Quantization

if TYPE_CHECKING:
    from edgeds.twin.graph import Compute

Function = Callable[[Array], Array]


def lookup(table: Array) -> Compute:
    """table: int8 or uint8 [256], for the inputs' bit patterns 0 to 255."""
    import torch

    entries = torch.from_numpy(np.ascontiguousarray(table))
    return lambda x: entries[x.view(torch.uint8).to(torch.int32)]


def xnnpack_table(function: Function, x: Quantization, y: Quantization) -> Array:
    """XNNPACK's reference: dequantize, `function` in float32, · (1 / s_y) + z_y, round half to even, saturate.

    (src/reference/unary-elementwise.cc; `function` takes and gives float32 [256].)
    """
    results = function((_inputs(x) - np.float32(x.zero_point)) * np.float32(x.scale)).astype(np.float32)
    inverse = np.float32(1) / np.float32(y.scale)
    return _saturated(np.rint(results * inverse + np.float32(y.zero_point)), y)


def mlas_table(function: Function, x: Quantization, y: Quantization) -> Array:
    """ONNX Runtime's: dequantize, `function` in float32, then MlasQuantizeLinear: round(result / s_y) + z_y."""
    results = function((_inputs(x) - np.float32(x.zero_point)) * np.float32(x.scale)).astype(np.float32)
    return _saturated(np.rint(results / np.float32(y.scale)) + np.float32(y.zero_point), y)


def same(x: Array) -> Array:
    """x: for a change of scale."""
    return x


def leaky_relu(slope: float) -> Function:
    """x, times `slope` where x is negative."""
    return lambda x: np.where(x >= 0, x, x * np.float32(slope))


def hardswish(x: Array) -> Array:
    """(x / 6) · clip(x + 3, 0, 6), in this order."""
    result: Array = (x / np.float32(6)) * np.clip(x + np.float32(3), np.float32(0), np.float32(6))
    return result


def hardsigmoid(x: Array) -> Array:
    """clip(x / 6 + 1/2, 0, 1)."""
    result: Array = np.clip(x / np.float32(6) + np.float32(0.5), np.float32(0), np.float32(1))
    return result


def sigmoid(x: Array) -> Array:
    """e / (1 + e) in float64, rounded to float32."""
    e = np.exp(x.astype(np.float64))
    result: Array = (e / (1 + e)).astype(np.float32)
    return result


def tanh(x: Array) -> Array:
    """In float64, rounded to float32."""
    return np.tanh(x.astype(np.float64)).astype(np.float32)


def gelu(x: Array) -> Array:
    """x / 2 · (1 + erf(x / √2)) in float64, rounded to float32."""
    import torch

    half = torch.from_numpy(x.astype(np.float64) / 2)
    exact: Array = (half * (1 + torch.special.erf(half * 2 * 0.5**0.5))).numpy()
    return exact.astype(np.float32)


def _inputs(x: Quantization) -> Array:
    """float32 [256]: the integer of every bit pattern."""
    return np.arange(256, dtype=np.uint8).view(x.dtype).astype(np.float32)


def _saturated(values: Array, y: Quantization) -> Array:
    return np.clip(values, y.low, y.high).astype(y.dtype)
