"""A transposed convolution becomes a convolution and a pixel shuffle: ONNX Runtime has no integer transposed convolution.

Each of the stride² phases of the output is a convolution of the input with every stride-th weight; one convolution computes all phases as
channels. It multiplies as often as the transposed one, but for kernels that the stride does not divide.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import add_tensor, arguments, call, is_constant, shape_of, substitute

aten = torch.ops.aten


def transposed_conv(module: fx.GraphModule) -> int:
    """Rewrites conv_transpose2d without dilation. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        given = arguments(node) if node.target is aten.conv_transpose2d.input else {}
        if not given or not is_constant(given["weight"]) or len(shape_of(given["input"])) != 4:
            continue
        if any(step != 1 for step in given["dilation"]) or _reaches_beyond(node, given):
            continue
        with module.graph.inserting_before(node):
            made = _phases(module, node, given)
        substitute(module, node, made)
        count += 1
    return count


def _taps(given: dict[str, Any]) -> list[int]:
    """How many inputs each output of a phase reads, an axis."""
    kernel = shape_of(given["weight"])[2:]
    return [-(-size // step) for size, step in zip(kernel, given["stride"], strict=True)]


def _reaches_beyond(node: fx.Node, given: dict[str, Any]) -> bool:
    """Whether output padding asks for more than the phases compute; their strides must be one number, too."""
    sizes, wanted = shape_of(given["input"])[2:], shape_of(node)[2:]
    ends = [
        pad + want > step * (size + taps - 1)
        for pad, want, step, size, taps in zip(
            given["padding"], wanted, given["stride"], sizes, _taps(given), strict=True
        )
    ]
    return any(ends) or len(set(given["stride"])) > 1


def _phases(module: fx.GraphModule, node: fx.Node, given: dict[str, Any]) -> fx.Node:
    x, step, taps = given["input"], int(given["stride"][0]), _taps(given)
    weight = _phase_weights(tensor_of(module, given["weight"]), step, taps, given["groups"])
    bias = None
    if given["bias"] is not None:
        bias = add_tensor(module, "phase_bias", tensor_of(module, given["bias"]).repeat_interleave(step * step))
    padding = [count - 1 for count in taps]
    batch, _, *sizes = shape_of(x)
    grown = [size + pad for size, pad in zip(sizes, padding, strict=True)]
    args = (x, add_tensor(module, "phase_weight", weight), bias, [1, 1], padding, [1, 1], given["groups"])
    value = call(module, aten.conv2d.default, args, like=x, shape=(batch, len(weight), *grown), module_of=node)
    shape = [batch, len(weight) // step**2, *(size * step for size in grown)]
    if step > 1:
        value = call(module, aten.pixel_shuffle.default, (value, step), like=x, shape=shape, module_of=node)
    for axis in (2, 3):
        start, length = given["padding"][axis - 2], shape_of(node)[axis]
        if (start, length) != (0, shape[axis]):
            shape[axis] = length
            cut = (value, axis, start, start + length)
            value = call(module, aten.slice.Tensor, cut, like=x, shape=shape, module_of=node)
    return value


def _phase_weights(weight: torch.Tensor, step: int, taps: list[int], groups: int) -> torch.Tensor:
    """[I, O/g, kH, kW] → [O·step², I/g, taps, taps], the phases of an output channel beside each other, as pixel_shuffle takes them."""
    inputs, outputs, height, width = weight.shape
    padded = F.pad(weight, [0, taps[1] * step - width, 0, taps[0] * step - height])
    apart = padded.reshape(groups, inputs // groups, outputs, taps[0], step, taps[1], step)
    turned = apart.permute(0, 2, 4, 6, 1, 3, 5).flip([5, 6])  # group, output, phase, phase, input, tap, tap
    return turned.reshape(groups * outputs * step * step, inputs // groups, *taps)
