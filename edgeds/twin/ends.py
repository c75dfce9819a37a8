"""Where floats become integers and back: as edgeds.run.agent does around an artifact that takes integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeds.spec import Array, Layout

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Quantization, Value


def enter(x: Array, value: Value, layout: Layout) -> torch.Tensor:
    """float32 [N, ...] with PyTorch's order of axes, as the artifact takes it."""
    import torch

    if layout is Layout.NHWC and x.ndim == 4:
        x = np.moveaxis(x, 1, -1)
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    return tensor if value.quantization is None else quantize(tensor, value.quantization)


def leave(y: torch.Tensor, value: Value, layout: Layout) -> Array:
    """float32 [N, ...] with PyTorch's order of axes, of what the artifact gives."""
    floats: Array = (y if value.quantization is None else dequantize(y, value.quantization)).numpy()
    return np.ascontiguousarray(np.moveaxis(floats, -1, 1) if layout is Layout.NHWC and y.ndim == 4 else floats)


def quantize(x: torch.Tensor, to: Quantization) -> torch.Tensor:
    """round(x / scale) + zero point, half to even, clipped: ONNX's QuantizeLinear and the agent's way into integers."""
    return (x / to.scale).round_().add_(to.zero_point).clamp_(to.low, to.high).to(_type(to))


def quantize_by_inverse(x: torch.Tensor, to: Quantization) -> torch.Tensor:
    """round(x · (1 / scale)) + zero point: XNNPACK multiplies by float32's inverse (xnn_init_f32_qs8_cvt_scalar_params)."""
    inverse = float(np.float32(1) / np.float32(to.scale))
    return (x * inverse).round_().add_(to.zero_point).clamp_(to.low, to.high).to(_type(to))


def dequantize(x: torch.Tensor, by: Quantization) -> torch.Tensor:
    """(integer - zero point) · scale in float32."""
    import torch

    return x.to(torch.float32).sub_(by.zero_point).mul_(by.scale)


def _type(to: Quantization) -> torch.dtype:
    import torch

    return {"int8": torch.int8, "uint8": torch.uint8}[to.dtype]
