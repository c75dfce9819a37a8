"""The twin of a `.pte` file in ExecuTorch on x86: the graph of its one XNNPACK delegate, with XNNPACK's arithmetic."""

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
from edgeds.twin.pte_file import Node, PteFile

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute

Model = Callable[[PteFile, Node], "Compute"]
IMAGE_AXES = (1, 2)  # of N, H, W, C
KEEP_DIMENSIONS = 0x40  # XNN_FLAG_KEEP_DIMS
TENSORFLOW_SAME = 0x4  # XNN_FLAG_TENSORFLOW_SAME_PADDING
TRANSPOSED_WEIGHTS = 0x1  # XNN_FLAG_TRANSPOSE_WEIGHTS


def load(path: Path, layout: Layout) -> Twin:
    """Reads the file. ModelError for an operator, or a way to use one, that has no model."""
    file = PteFile(path)
    layers = tuple(_layer(file, node) for node in file.nodes)
    return Twin(Runtime.EXECUTORCH, layout, file.inputs, file.outputs, layers, file.values())


def _layer(file: PteFile, node: Node) -> Layer:
    if node.code not in MODELS:
        raise ModelError(f"the twin does not model {node.code}, {node.place}; choose from {', '.join(sorted(MODELS))}")
    try:
        if node.fields["flags"] & TENSORFLOW_SAME:
            raise ModelError("it pads by TensorFlow's rule")
        compute = _clipped(file, node, MODELS[node.code](file, node))
    except ModelError as error:
        raise ModelError(f"the twin does not model this {node.code}, {node.place}: {error}") from error
    inputs = tuple(file.name(k) for k in node.inputs if file.constant(k) is None)
    return Layer(file.name(node.output), node.code, inputs, (file.name(node.output),), compute)


def _clipped(file: PteFile, node: Node, compute: Compute) -> Compute:
    """With the node's own least and largest output, where it has them."""
    if node.limits is None or node.code == "Clamp" or file.value(node.output).quantization is None:
        return compute
    clip = Clip.between(*node.limits, file.quantization(node.output))
    return lambda *given: _only(compute(*given)).clamp(clip.low, clip.high)


def _convolution(file: PteFile, node: Node) -> Compute:
    """Weights [O, kh, kw, I / groups]."""
    kernel = file.required(node.fields["filter_id"]).transpose(0, 3, 1, 2)
    return _convolved(file, node, kernel)


def _depthwise(file: PteFile, node: Node) -> Compute:
    """Weights [1, kh, kw, O]."""
    kernel = file.required(node.fields["filter_id"]).transpose(3, 0, 1, 2)
    return _convolved(file, node, kernel)


def _convolved(file: PteFile, node: Node, kernel: Array) -> Compute:
    fields = node.fields
    stride, dilation = ((fields[f"{what}_height"], fields[f"{what}_width"]) for what in ("subsampling", "dilation"))
    window = Window(stride, dilation, _padding(node), fields["groups"])
    x, y = file.quantization(fields["input1_id"]), file.quantization(node.output)
    return convolution.convolution(_weights(file, node, kernel), window, x, y)


def _padding(node: Node) -> tuple[int, int, int, int]:
    top, bottom, left, right = (node.fields[f"padding_{side}"] for side in ("top", "bottom", "left", "right"))
    return top, bottom, left, right


def _linear(file: PteFile, node: Node) -> Compute:
    if node.fields["flags"] & TRANSPOSED_WEIGHTS:
        raise ModelError("its weights are transposed")
    x, y = file.quantization(node.fields["input1_id"]), file.quantization(node.output)
    return convolution.linear(_weights(file, node, file.required(node.fields["filter_id"])), x, y)


def _weights(file: PteFile, node: Node, integers: Array) -> Weights:
    return Weights(integers, file.weight_scales(node.fields["filter_id"]), file.constant(node.fields["bias_id"]))


def _binary(model: Callable[[Quantization, Quantization, Quantization], Compute]) -> Model:
    def build(file: PteFile, node: Node) -> Compute:
        a, b, y = (file.quantization(k) for k in (*node.inputs, node.output))
        return bind(model(a, b, y), [file.constant(k) for k in node.inputs])

    return build


def _subtraction(a: Quantization, b: Quantization, y: Quantization) -> Compute:
    return addition.xnnpack_addition(a, b, y, sign=-1)


def _mean(file: PteFile, node: Node) -> Compute:
    """Over a whole image [N, H, W, C]."""
    shape = file.value(node.inputs[0]).shape
    x, y = file.quantization(node.inputs[0]), file.quantization(node.output)
    keep = bool(node.fields["flags"] & KEEP_DIMENSIONS)
    return means.xnnpack_mean(x, y, IMAGE_AXES, keep, int(np.prod([shape[axis] for axis in IMAGE_AXES])))


def _table(function: Callable[[Node], lookups.Function]) -> Model:
    def build(file: PteFile, node: Node) -> Compute:
        x, y = file.quantization(node.inputs[0]), file.quantization(node.output)
        return lookups.lookup(lookups.xnnpack_table(function(node), x, y))

    return build


def _same_scale(file: PteFile, node: Node) -> Quantization:
    found = {file.quantization(k) for k in (*node.inputs, node.output)}
    if len(found) != 1:
        raise ModelError("its inputs and output have several scales")
    return found.pop()


def _clamp(file: PteFile, node: Node) -> Compute:
    if node.limits is None:
        raise ModelError("it has no limits")
    clip = Clip.between(*node.limits, _same_scale(file, node))
    return lambda x: x.clamp(clip.low, clip.high)


def _max_pool(file: PteFile, node: Node) -> Compute:
    fields = node.fields
    size, stride, dilation = (
        (fields[f"{what}_height"], fields[f"{what}_width"]) for what in ("pooling", "stride", "dilation")
    )
    return pools.max_pool(size, Window(stride, dilation, _padding(node)), _same_scale(file, node).low)


def _concatenation(file: PteFile, node: Node) -> Compute:
    _same_scale(file, node)
    joined = moves.concatenate(node.fields["axis"], len(file.value(node.output).shape))
    return bind(joined, [file.constant(k) for k in node.inputs])


def _pad(file: PteFile, node: Node) -> Compute:
    fields, y = node.fields, _same_scale(file, node)
    value = Clip.between(fields["padding_value"], fields["padding_value"], y).low
    return moves.pad(fields["pre_paddings"], fields["post_paddings"], value if value is not None else y.zero_point)


def _reshape(file: PteFile, node: Node) -> Compute:
    return moves.reshape(file.value(node.inputs[0]).shape, file.value(node.output).shape)


def _transpose(file: PteFile, node: Node) -> Compute:
    return moves.transpose(node.fields["perm"])


def _slice(file: PteFile, node: Node) -> Compute:
    shape, starts, sizes = file.value(node.inputs[0]).shape, node.fields["offsets"], node.fields["sizes"]
    ends_at = [start + size if size else n for start, size, n in zip(starts, sizes, shape, strict=True)]
    return moves.cut(starts, ends_at, [1] * len(shape), shape)


def _convert(file: PteFile, node: Node) -> Compute:
    x, y = file.value(node.inputs[0]).quantization, file.value(node.output).quantization
    if x is None and y is not None:
        return lambda given: ends.quantize_by_inverse(given, y)
    if x is not None and y is None:
        return lambda given: ends.dequantize(given, x)
    raise ModelError("it changes the scale of integers")


def _only(computed: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    assert not isinstance(computed, tuple)
    return computed


MODELS: dict[str, Model] = {
    "Add": _binary(addition.xnnpack_addition),
    "Clamp": _clamp,
    "Concatenate2": _concatenation,
    "Concatenate3": _concatenation,
    "Concatenate4": _concatenation,
    "Concatenate5": _concatenation,
    "Conv2d": _convolution,
    "Convert": _convert,
    "DepthwiseConv2d": _depthwise,
    "FullyConnected": _linear,
    "Gelu": _table(lambda node: lookups.gelu),
    "GlobalAvgPooling2d": _mean,
    "Hardswish": _table(lambda node: lookups.hardswish),
    "LeakyReLU": _table(lambda node: lookups.leaky_relu(node.fields["negative_slope"])),
    "MaxPooling2d": _max_pool,
    "Multiply": _binary(multiplication.xnnpack_multiplication),
    "Sigmoid": _table(lambda node: lookups.sigmoid),
    "StaticConstantPad": _pad,
    "StaticReshape": _reshape,
    "StaticSlice": _slice,
    "StaticTranspose": _transpose,
    "Subtract": _binary(_subtraction),
    "Tanh": _table(lambda node: lookups.tanh),
}
