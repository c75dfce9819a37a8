"""The twin of a `.tflite` file in LiteRT on x86: XNNPACK's arithmetic, in which LiteRT runs int8 operators by default.

What its delegate leaves to TFLite's own kernels (tflite/delegates/xnnpack/xnnpack_delegate.cc) is here only where those are exact integers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeds.errors import ModelError
from edgeds.spec import Array, Layout, Runtime
from edgeds.twin import addition, convolution, ends, lookups, means, moves, multiplication, pools
from edgeds.twin.accumulate import Window
from edgeds.twin.constants import bind
from edgeds.twin.convolution import Clip, Weights
from edgeds.twin.graph import Layer, Quantization, Twin
from edgeds.twin.tflite_file import Operator, TfliteFile

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute

SAME = 0
# the least and the largest real value of each fused activation: NONE, RELU, RELU_N1_TO_1, RELU6
ACTIVATIONS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
ADD_RATIOS = (2.0**-10, 2.0**8)
MUL_RATIOS = (2.0**-16, 2.0**8)


def load(path: Path, layout: Layout) -> Twin:
    """Reads the file. ModelError for an operator, or a way to use one, that has no model."""
    file = TfliteFile(path.read_bytes(), path.name)
    layers = tuple(_layer(file, operator) for operator in file.operators())
    inputs, outputs = (tuple(file.name(k) for k in file.ordered(side)) for side in ("inputs", "outputs"))
    return Twin(Runtime.LITERT, layout, inputs, outputs, layers, file.values())


def _layer(file: TfliteFile, operator: Operator) -> Layer:
    if operator.code not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise ModelError(f"the twin does not model {operator.code}, {operator.place}; choose from {known}")
    try:
        compute = MODELS[operator.code](file, operator)
    except ModelError as error:
        raise ModelError(f"the twin does not model this {operator.code}, {operator.place}: {error}") from error
    inputs = tuple(file.name(k) for k in operator.inputs if k >= 0 and file.constant(k) is None)
    outputs = tuple(file.name(k) for k in operator.outputs)
    return Layer(file.name(operator.outputs[0]), operator.code, inputs, outputs, compute)


def _convolution(file: TfliteFile, operator: Operator) -> Compute:
    """Weights [O, kh, kw, I / groups]."""
    x, y = operator.inputs[0], operator.outputs[0]
    kernel = file.required(operator.inputs[1])
    groups = file.shape(x)[3] // kernel.shape[3]
    window = _window(file, operator, kernel.shape[1:3], groups)
    weights = _weights(file, operator, kernel.transpose(0, 3, 1, 2))
    return convolution.convolution(weights, window, file.quantization(x), file.quantization(y), _clip(file, operator))


def _depthwise(file: TfliteFile, operator: Operator) -> Compute:
    """Weights [1, kh, kw, O]; each input channel gives O / I outputs, one after the other."""
    x, y = operator.inputs[0], operator.outputs[0]
    kernel = file.required(operator.inputs[1])
    window = _window(file, operator, kernel.shape[1:3], file.shape(x)[3])
    weights = _weights(file, operator, kernel.transpose(3, 0, 1, 2))
    return convolution.convolution(weights, window, file.quantization(x), file.quantization(y), _clip(file, operator))


def _linear(file: TfliteFile, operator: Operator) -> Compute:
    x, y = operator.inputs[0], operator.outputs[0]
    weights = _weights(file, operator, file.required(operator.inputs[1]))
    product = convolution.linear(weights, file.quantization(x), file.quantization(y), _clip(file, operator))
    width = weights.integers.shape[1]
    if file.shape(x)[-1] != width:
        raise ModelError(f"its input {list(file.shape(x))} is flattened to rows of {width}")
    if file.shape(y)[:-1] == file.shape(x)[:-1]:
        return product
    shaped = moves.reshape((*file.shape(x)[:1], -1), file.shape(y))
    return lambda given: shaped(product(given))


def _weights(file: TfliteFile, operator: Operator, integers: Array) -> Weights:
    bias = operator.inputs[2] if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None
    return Weights(
        integers, file.weight_scales(operator.inputs[1]), None if bias is None else file.required(bias).reshape(-1)
    )


def _window(file: TfliteFile, operator: Operator, kernel: tuple[int, ...], groups: int = 1) -> Window:
    """Strides and dilations of the options; SAME pads as TensorFlow does, the odd element behind."""
    options = operator.options
    stride = (int(options.strideH), int(options.strideW))
    dilation = (int(getattr(options, "dilationHFactor", 1)), int(getattr(options, "dilationWFactor", 1)))
    padding: list[int] = []
    for size, n, s, d in zip(file.shape(operator.inputs[0])[1:3], kernel, stride, dilation, strict=True):
        missing = max((-(-size // s) - 1) * s + (n - 1) * d + 1 - size, 0) if options.padding == SAME else 0
        padding += [missing // 2, missing - missing // 2]
    return Window(stride, dilation, (padding[0], padding[1], padding[2], padding[3]), groups)


def _clip(file: TfliteFile, operator: Operator) -> Clip:
    """The fused activation in integers of the output."""
    y = file.quantization(operator.outputs[0])
    kind = int(operator.options.fusedActivationFunction)
    if kind not in ACTIVATIONS:
        raise ModelError(f"its fused activation is {kind}, which is none of {', '.join(map(str, ACTIVATIONS))}")
    return Clip.between(*ACTIVATIONS[kind], y)


def _binary(
    model: Callable[[Quantization, Quantization, Quantization], Compute], multiplies: bool = False
) -> Callable[[TfliteFile, Operator], Compute]:
    """ADD, SUB and MUL where XNNPACK takes them."""

    def build(file: TfliteFile, operator: Operator) -> Compute:
        a, b, y = (file.quantization(k) for k in (*operator.inputs, *operator.outputs))
        ratios = [a.scale * b.scale / y.scale] if multiplies else [a.scale / y.scale, b.scale / y.scale]
        low, high = MUL_RATIOS if multiplies else ADD_RATIOS
        if not all(low <= ratio < high for ratio in ratios):
            raise ModelError(f"XNNPACK leaves scales of the ratio {max(ratios):g} to another kernel")
        clip = _clip(file, operator)
        compute = bind(model(a, b, y), [file.constant(k) for k in operator.inputs])
        if (clip.low, clip.high) == (y.low, y.high):
            return compute
        return lambda *given: _only(compute(*given)).clamp_(clip.low, clip.high)

    return build


def _subtraction(a: Quantization, b: Quantization, y: Quantization) -> Compute:
    return addition.xnnpack_addition(a, b, y, sign=-1)


def _extreme(function: str) -> Callable[[TfliteFile, Operator], Compute]:
    """MAXIMUM and MINIMUM: TFLite's own kernel compares the integers as they are."""

    def build(file: TfliteFile, operator: Operator) -> Compute:
        import torch

        a, b, y = (file.quantization(k) for k in (*operator.inputs, *operator.outputs))
        if not a == b == y:
            raise ModelError("its inputs and output have several scales")
        return bind(getattr(torch, function), [file.constant(k) for k in operator.inputs])

    return build


def _mean(file: TfliteFile, operator: Operator) -> Compute:
    shape = file.shape(operator.inputs[0])
    axes = sorted({int(axis) % len(shape) for axis in file.required(operator.inputs[1]).reshape(-1)})
    if 0 in axes:
        raise ModelError("it goes over the batch axis")
    count = int(np.prod([shape[axis] for axis in axes]))
    x, y = (file.quantization(k) for k in (operator.inputs[0], operator.outputs[0]))
    return means.xnnpack_mean(x, y, axes, bool(operator.options.keepDims), count)


def _same_scale(file: TfliteFile, operator: Operator) -> Quantization:
    """The one quantization of all activations of an operator that moves integers."""
    tensors = [k for k in (*operator.inputs, *operator.outputs) if file.value(k).quantization is not None]
    found = {file.quantization(k) for k in tensors}
    if len(found) != 1:
        raise ModelError("its inputs and outputs have several scales")
    return found.pop()


def _max_pool(file: TfliteFile, operator: Operator) -> Compute:
    size = (int(operator.options.filterHeight), int(operator.options.filterWidth))
    pooled = pools.max_pool(size, _window(file, operator, size), _same_scale(file, operator).low)
    clip = _clip(file, operator)
    return lambda x: _only(pooled(x)).clamp(clip.low, clip.high)


def _average_pool(file: TfliteFile, operator: Operator) -> Compute:
    size = (int(operator.options.filterHeight), int(operator.options.filterWidth))
    return pools.tflite_average_pool(size, _window(file, operator, size), _clip(file, operator))


def _pad(file: TfliteFile, operator: Operator) -> Compute:
    sides = file.required(operator.inputs[1])
    return moves.pad(sides[:, 0].tolist(), sides[:, 1].tolist(), _same_scale(file, operator).zero_point)


def _reshape(file: TfliteFile, operator: Operator) -> Compute:
    return moves.reshape(file.shape(operator.inputs[0]), file.shape(operator.outputs[0]))


def _transpose(file: TfliteFile, operator: Operator) -> Compute:
    return moves.transpose(file.required(operator.inputs[1]).reshape(-1).tolist())


def _concatenation(file: TfliteFile, operator: Operator) -> Compute:
    _same_scale(file, operator)
    joined = moves.concatenate(int(operator.options.axis), len(file.shape(operator.outputs[0])))
    return bind(joined, [file.constant(k) for k in operator.inputs])


def _slice(file: TfliteFile, operator: Operator) -> Compute:
    shape = file.shape(operator.inputs[0])
    starts = file.required(operator.inputs[1]).reshape(-1).tolist()
    ends = [start + size for start, size in zip(starts, file.shape(operator.outputs[0]), strict=True)]
    return moves.cut(starts, ends, [1] * len(shape), shape)


def _strided_slice(file: TfliteFile, operator: Operator) -> Compute:
    """Masks say which starts and ends stand for the tensor's own."""
    options, shape = operator.options, file.shape(operator.inputs[0])
    if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask:
        raise ModelError("it adds or drops axes")
    starts, ends, steps = (file.required(k).reshape(-1).tolist() for k in operator.inputs[1:4])
    for axis, size in enumerate(shape):
        starts[axis] = 0 if options.beginMask >> axis & 1 else starts[axis] + size * (starts[axis] < 0)
        ends[axis] = size if options.endMask >> axis & 1 else min(ends[axis] + size * (ends[axis] < 0), size)
    return moves.cut(starts, ends, steps, shape)


def _split(file: TfliteFile, operator: Operator) -> Compute:
    """The axis is the first input."""
    axis = int(file.required(operator.inputs[0]).reshape(-1)[0]) % len(file.shape(operator.outputs[0]))
    return moves.split([file.shape(k)[axis] for k in operator.outputs], axis)


def _table(function: lookups.Function) -> Callable[[TfliteFile, Operator], Compute]:
    def build(file: TfliteFile, operator: Operator) -> Compute:
        x, y = (file.quantization(k) for k in (operator.inputs[0], operator.outputs[0]))
        return lookups.lookup(lookups.xnnpack_table(function, x, y))

    return build


def _quantize(file: TfliteFile, operator: Operator) -> Compute:
    y = file.quantization(operator.outputs[0])
    if file.value(operator.inputs[0]).quantization is not None:
        raise ModelError("it changes the scale of integers")
    return lambda x: ends.quantize_by_inverse(x, y)


def _dequantize(file: TfliteFile, operator: Operator) -> Compute:
    x = file.quantization(operator.inputs[0])
    return lambda given: ends.dequantize(given, x)


def _only(computed: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    assert not isinstance(computed, tuple)
    return computed


MODELS: dict[str, Callable[[TfliteFile, Operator], Compute]] = {
    "ADD": _binary(addition.xnnpack_addition),
    "AVERAGE_POOL_2D": _average_pool,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _dequantize,
    "FULLY_CONNECTED": _linear,
    "LOGISTIC": _table(lookups.sigmoid),
    "MAXIMUM": _extreme("maximum"),
    "MAX_POOL_2D": _max_pool,
    "MEAN": _mean,
    "MINIMUM": _extreme("minimum"),
    "MUL": _binary(multiplication.xnnpack_multiplication, multiplies=True),
    "PAD": _pad,
    "QUANTIZE": _quantize,
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary(_subtraction),
    "TANH": _table(lookups.tanh),
    "TRANSPOSE": _transpose,
}
