"""The twin of an `.onnx` file in ONNX Runtime: MLAS' integer kernels, for the operators that the runtime fuses.

Operators that only move integers are ONNX's own; those of two scales or more are the QLinear ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeds.errors import ModelError
from edgeds.spec import Layout, Runtime
from edgeds.twin import addition, convolution, ends, lookups, means, moves, multiplication, pools
from edgeds.twin.accumulate import Window
from edgeds.twin.constants import bind, broadcast
from edgeds.twin.convolution import Weights
from edgeds.twin.graph import Layer, Quantization, Twin, Value
from edgeds.twin.onnx_file import OnnxFile, Operator

if TYPE_CHECKING:
    from edgeds.twin.graph import Compute

Model = Callable[[OnnxFile, Operator], "Compute"]
# Which inputs are values (others are scales, zero points, weights and other constants), and where the output's scale stands.
QLINEAR = {
    "QLinearConv": ((0,), 6),
    "QGemm": ((0,), 7),
    "QLinearAdd": ((0, 3), 6),
    "QLinearMul": ((0, 3), 6),
    "QLinearGlobalAveragePool": ((0,), 3),
    "QLinearLeakyRelu": ((0,), 3),
    "QLinearMatMul": ((0,), 6),
    "QLinearSigmoid": ((0,), 3),
    "QuantizeLinear": ((0,), 1),
}
# Between a dequantize and a quantize, where nothing is fused: IEEE's own results.
FLOAT_ARITHMETIC = {"Add": "add", "Div": "div", "Mul": "mul", "Sub": "sub"}
# MLAS has polynomials of its own for these.
APPROXIMATE = {"Elu", "Gelu", "QLinearSigmoid", "Tanh"}


def load(path: Path, layout: Layout) -> Twin:
    """Reads the file, for x86. ModelError for an operator, or a way to use one, that has no model."""
    return _load(path, layout, MODELS)


def load_arm(path: Path, layout: Layout) -> Twin:
    """The same for ARM, where sums are computed otherwise (see edgeds.twin.addition)."""
    return _load(path, layout, MODELS | {"QLinearAdd": _binary(addition.mlas_neon_addition)})


def _load(path: Path, layout: Layout, models: Mapping[str, Model]) -> Twin:
    file = OnnxFile(path)
    known: dict[str, Quantization] = {}
    layers = tuple(_layer(file, operator, known, models) for operator in file.operators)
    for operator in file.operators:
        known |= _as_read(file, operator)
    names = (*file.inputs, *(name for layer in layers for name in layer.outputs))
    values = {name: Value(name, file.known_shape(name), known.get(name)) for name in names}
    return Twin(Runtime.ONNXRUNTIME, layout, file.inputs, file.outputs, layers, values)


def _layer(file: OnnxFile, operator: Operator, known: dict[str, Quantization], models: Mapping[str, Model]) -> Layer:
    """Also adds what it learns of its outputs' quantization to `known`."""
    if operator.code not in models:
        choices = ", ".join(sorted(models))
        raise ModelError(f"the twin does not model {operator.code}, {operator.place}; choose from {choices}")
    try:
        compute = models[operator.code](file, operator)
        inputs = tuple(name for name in _data(operator) if file.constant(name) is None)
        quantization = _output_quantization(file, operator, [known.get(name) for name in inputs])
    except ModelError as error:
        raise ModelError(f"the twin does not model this {operator.code}, {operator.place}: {error}") from error
    if quantization is not None:
        known.update(dict.fromkeys(operator.outputs, quantization))
    return Layer(
        operator.outputs[0], operator.code, inputs, operator.outputs, compute, operator.code not in APPROXIMATE
    )


def _data(operator: Operator) -> list[str]:
    """The names of an operator's inputs that are values, constant or not."""
    if operator.code in QLINEAR:
        return [operator.inputs[k] for k in QLINEAR[operator.code][0]]
    if operator.code == "QLinearConcat":
        return list(operator.inputs[2::3])
    return list(operator.inputs) if operator.code in ("Concat", *FLOAT_ARITHMETIC) else list(operator.inputs[:1])


def _as_read(file: OnnxFile, operator: Operator) -> dict[str, Quantization]:
    """The quantization of its inputs as this operator reads them: a rewrite may have integers written with one scale, read with another."""
    if operator.code in ("QLinearConcat", "DequantizeLinear"):
        places: Sequence[int] = range(2, len(operator.inputs), 3) if operator.code == "QLinearConcat" else (0,)
    else:
        places = QLINEAR[operator.code][0] if operator.code in QLINEAR and operator.code != "QuantizeLinear" else ()
    return {operator.inputs[k]: _pair(file, operator, k + 1) for k in places}


def _output_quantization(
    file: OnnxFile, operator: Operator, of_inputs: Sequence[Quantization | None]
) -> Quantization | None:
    if operator.code == "DequantizeLinear":
        return None
    if operator.code in QLINEAR or operator.code == "QLinearConcat":
        first = QLINEAR[operator.code][1] if operator.code in QLINEAR else 0
        return file.quantization(operator.inputs[first], operator.inputs[first + 1])
    if len(set(of_inputs)) != 1:
        raise ModelError("its inputs have several scales")
    return of_inputs[0]


def _pair(file: OnnxFile, operator: Operator, first: int) -> Quantization:
    return file.quantization(operator.inputs[first], operator.inputs[first + 1])


def _convolution(file: OnnxFile, operator: Operator) -> Compute:
    options = operator.options
    if options.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ModelError(f"it pads by {options['auto_pad'].decode()}")
    kernel = file.centred(operator.inputs[3], operator.inputs[5])
    if kernel.ndim != 4:
        raise ModelError(f"it has {kernel.ndim - 2} spatial axes, the twin models 2")
    bias = file.required(operator.inputs[8]) if len(operator.inputs) > 8 and operator.inputs[8] else None
    weights = Weights(kernel, file.required(operator.inputs[4]).reshape(-1), bias)
    return convolution.convolution(
        weights, _window(options), _pair(file, operator, 1), _pair(file, operator, 6), channels_last=False
    )


def _window(options: dict[str, Any]) -> Window:
    """ONNX gives paddings as top, left, bottom, right."""
    top, left, bottom, right = options.get("pads", [0, 0, 0, 0])
    stride, dilation = (options.get(name, [1, 1]) for name in ("strides", "dilations"))
    groups = int(options.get("group", 1))
    return Window((stride[0], stride[1]), (dilation[0], dilation[1]), (top, bottom, left, right), groups)


def _linear(file: OnnxFile, operator: Operator) -> Compute:
    options = operator.options
    if options.get("transA", 0) or options.get("alpha", 1.0) != 1.0 or len(operator.inputs) < 9:
        raise ModelError("it transposes or scales its input, or gives floats")
    matrix = file.centred(operator.inputs[3], operator.inputs[5])
    bias = file.required(operator.inputs[6]).reshape(-1) if operator.inputs[6] else None
    weights = Weights(
        matrix if options.get("transB", 0) else matrix.T, file.required(operator.inputs[4]).reshape(-1), bias
    )
    return convolution.linear(weights, _pair(file, operator, 1), _pair(file, operator, 7))


def _matrix_product(file: OnnxFile, operator: Operator) -> Compute:
    """With a constant matrix [I, O]; what is added is an operator of its own."""
    matrix = file.centred(operator.inputs[3], operator.inputs[5])
    if matrix.ndim != 2:
        raise ModelError(f"its constant has {matrix.ndim} axes, the twin models 2")
    weights = Weights(matrix.T, file.required(operator.inputs[4]).reshape(-1), None)
    return convolution.linear(weights, _pair(file, operator, 1), _pair(file, operator, 6))


def _binary(model: Callable[[Quantization, Quantization, Quantization], Compute]) -> Model:
    def build(file: OnnxFile, operator: Operator) -> Compute:
        a, b, y = (_pair(file, operator, first) for first in (1, 4, 6))
        return _broadcast(file, model(a, b, y), [operator.inputs[k] for k in (0, 3)])

    return build


def _global_mean(file: OnnxFile, operator: Operator) -> Compute:
    shape = file.shape(operator.inputs[0])
    axes = tuple(range(1, len(shape) - 1) if operator.options.get("channels_last", 0) else range(2, len(shape)))
    x, y = _pair(file, operator, 1), _pair(file, operator, 3)
    return means.mlas_global_mean(x, y, axes, int(np.prod([shape[axis] for axis in axes])))


def _table(function: Callable[[Operator], lookups.Function]) -> Model:
    def build(file: OnnxFile, operator: Operator) -> Compute:
        x, y = _pair(file, operator, 1), _pair(file, operator, 3)
        return lookups.lookup(lookups.mlas_table(function(operator), x, y))

    return build


def _leaky_relu(operator: Operator) -> lookups.Function:
    return lookups.leaky_relu(float(operator.options.get("alpha", 0.01)))


def _quantized_concatenation(file: OnnxFile, operator: Operator) -> Compute:
    """Each input through a table from its scale to the output's."""
    y = _pair(file, operator, 0)
    tables = [
        lookups.lookup(lookups.mlas_table(lookups.same, _pair(file, operator, first), y))
        for first in range(3, len(operator.inputs), 3)
    ]
    joined = moves.concatenate(int(operator.options["axis"]), len(file.shape(operator.outputs[0])))
    constants = [file.constant(name) for name in operator.inputs[2::3]]
    return bind(lambda *given: joined(*(table(x) for table, x in zip(tables, given, strict=True))), constants)


def _concatenation(file: OnnxFile, operator: Operator) -> Compute:
    joined = moves.concatenate(int(operator.options["axis"]), len(file.shape(operator.outputs[0])))
    return bind(joined, [file.constant(name) for name in operator.inputs])


def _reshape(file: OnnxFile, operator: Operator) -> Compute:
    return moves.reshape(file.shape(operator.inputs[0]), file.shape(operator.outputs[0]))


def _transpose(file: OnnxFile, operator: Operator) -> Compute:
    return moves.transpose(operator.options["perm"])


def _slice(file: OnnxFile, operator: Operator) -> Compute:
    shape = file.shape(operator.inputs[0])
    given = [file.required(name).reshape(-1).tolist() for name in operator.inputs[1:]]
    axes = given[2] if len(given) > 2 else list(range(len(given[0])))
    steps = given[3] if len(given) > 3 else [1] * len(axes)
    whole = [[0, size, 1] for size in shape]
    for start, end, axis, step in zip(given[0], given[1], axes, steps, strict=True):
        size = shape[axis]
        whole[axis] = [start + size * (start < 0), min(end + size * (end < 0), size), step]
    starts, stops, by = zip(*whole, strict=True)
    return moves.cut(starts, stops, by, shape)


def _split(file: OnnxFile, operator: Operator) -> Compute:
    axis = operator.options.get("axis", 0) % len(file.shape(operator.inputs[0]))
    return moves.split([file.shape(name)[axis] for name in operator.outputs], axis)


def _max_pool(file: OnnxFile, operator: Operator) -> Compute:
    """Of integers, whose type's least is below all: its scale does not matter."""
    height, width = operator.options["kernel_shape"]
    if operator.options.get("ceil_mode", 0):
        raise ModelError("it rounds its output's size up")
    return pools.max_pool((height, width), _window(operator.options), -128, channels_last=False)


def _clip(file: OnnxFile, operator: Operator) -> Compute:
    """Of integers, or of floats; a bound may be left out."""
    low, high = (
        file.required(operator.inputs[k]).item() if len(operator.inputs) > k and operator.inputs[k] else None
        for k in (1, 2)
    )
    return lambda x: x.clamp(low, high)


def _float_arithmetic(file: OnnxFile, operator: Operator) -> Compute:
    import torch

    function = getattr(torch, FLOAT_ARITHMETIC[operator.code])
    return _broadcast(file, function, operator.inputs)


def _broadcast(file: OnnxFile, compute: Compute, names: Sequence[str]) -> Compute:
    constants = [file.constant(name) for name in names]
    shapes = [
        file.shape(name) if constant is None else constant.shape
        for name, constant in zip(names, constants, strict=True)
    ]
    return broadcast(compute, constants, shapes)


def _gelu(file: OnnxFile, operator: Operator) -> Compute:
    import torch.nn.functional as F

    kind = operator.options.get("approximate", b"none").decode()
    return lambda x: F.gelu(x, approximate=kind)


def _tanh(file: OnnxFile, operator: Operator) -> Compute:
    import torch

    return torch.tanh


def _elu(file: OnnxFile, operator: Operator) -> Compute:
    import torch.nn.functional as F

    slope = float(operator.options.get("alpha", 1.0))
    return lambda x: F.elu(x, slope)


def _quantize(file: OnnxFile, operator: Operator) -> Compute:
    y = _pair(file, operator, 1)
    return lambda x: ends.quantize(x, y)


def _dequantize(file: OnnxFile, operator: Operator) -> Compute:
    x = _pair(file, operator, 1)
    return lambda given: ends.dequantize(given, x)


MODELS: dict[str, Model] = {
    **dict.fromkeys(FLOAT_ARITHMETIC, _float_arithmetic),
    "Clip": _clip,
    "Concat": _concatenation,
    "DequantizeLinear": _dequantize,
    "Elu": _elu,
    "Flatten": _reshape,
    "Gelu": _gelu,
    "MaxPool": _max_pool,
    "QGemm": _linear,
    "QLinearAdd": _binary(addition.mlas_addition),
    "QLinearConcat": _quantized_concatenation,
    "QLinearConv": _convolution,
    "QLinearGlobalAveragePool": _global_mean,
    "QLinearLeakyRelu": _table(_leaky_relu),
    "QLinearMatMul": _matrix_product,
    "QLinearMul": _binary(multiplication.mlas_multiplication),
    "QLinearSigmoid": _table(lambda operator: lookups.sigmoid),
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshape,
    "Tanh": _tanh,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
