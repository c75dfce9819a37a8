"""Average pooling becomes a depthwise convolution with equal weights: int8 in all three runtimes, with an output scale of its own.

XNNPACK averages in float only, and neither a ceil_mode nor a counted padding; LiteRT and ONNX Runtime have a ceil_mode that divides by
other numbers than PyTorch. Where windows at the border divide by less than the kernel's size, a product with a table corrects them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from edgeds.quantize.canonical.edit import add_tensor, arguments, call, reshaped, shape_of, substitute

aten = torch.ops.aten


def average_pool(module: fx.GraphModule) -> int:
    """Rewrites each avg_pool2d. Equal up to rounding; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.avg_pool2d.default and len(shape_of(node)) == 4:
            with module.graph.inserting_before(node):
                made = _averaged(module, node)
            substitute(module, node, made)
            count += 1
    return count


def adaptive_average_pool(module: fx.GraphModule) -> int:
    """adaptive_avg_pool2d to a size that divides the input's becomes avg_pool2d, to another one a product with a matrix; returns how many."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not aten.adaptive_avg_pool2d.default or len(shape_of(node)) != 4:
            continue
        x: Any = node.args[0]
        with module.graph.inserting_before(node):
            sizes, wanted = shape_of(x)[2:], shape_of(node)[2:]
            if all(size % want == 0 for size, want in zip(sizes, wanted, strict=True)):
                kernel = [size // want for size, want in zip(sizes, wanted, strict=True)]
                made = call(module, aten.avg_pool2d.default, (x, kernel, kernel), like=node)
            else:
                made = _matrix(module, node, x)
        substitute(module, node, made)
        count += 1
    return count


def _averaged(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    given = arguments(node)
    x = given["input"] if "input" in given else given["self"]
    channels, sizes, wanted = shape_of(x)[1], shape_of(x)[2:], shape_of(node)[2:]
    kernel = _pair(given["kernel_size"])
    stride = _pair(given["stride"]) if given["stride"] else kernel
    padding = _pair(given["padding"])
    # what the windows need behind the image; less than the padding where the last rows are in no window
    behind = [
        (w - 1) * s + k - size - p for w, s, k, size, p in zip(wanted, stride, kernel, sizes, padding, strict=True)
    ]
    source = x
    if behind != padding and any(b > p for b, p in zip(behind, padding, strict=True)):
        amounts = [padding[1], behind[1], padding[0], behind[0]]
        shape = (*shape_of(x)[:2], sizes[0] + padding[0] + behind[0], sizes[1] + padding[1] + behind[1])
        source = call(module, aten.constant_pad_nd.default, (x, amounts, 0.0), like=x, shape=shape, module_of=node)
        padding = [0, 0]
    weight = torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]))
    sums = F.conv2d(torch.ones(1, 1, *shape_of(source)[2:]), weight[:1], None, stride, padding)
    if source is not x:  # windows' sums of what is image in the padded image
        image = F.pad(torch.ones(1, 1, *sizes), source.args[1])
        sums = F.conv2d(image, weight[:1], None, stride)
    ones = torch.ones(1, 1, *sizes)
    factor = node.target(ones, *node.args[1:], **node.kwargs) / sums  # type: ignore[operator]
    args = (source, add_tensor(module, "average", weight), None, stride, padding, [1, 1], channels)
    mean = call(module, aten.conv2d.default, args, like=node)
    if torch.allclose(factor, torch.ones_like(factor), atol=1e-6):
        return mean
    return call(module, aten.mul.Tensor, (mean, add_tensor(module, "divisor", factor)), like=node)


def _matrix(module: fx.GraphModule, node: fx.Node, x: fx.Node) -> fx.Node:
    """Each output pixel is a weighted sum of all input pixels: a linear layer over the image's pixels."""
    (batch, channels, *sizes), wanted = shape_of(x), shape_of(node)[2:]
    pixels, outputs = sizes[0] * sizes[1], wanted[0] * wanted[1]
    basis = torch.eye(pixels).reshape(pixels, 1, *sizes)
    weight = F.adaptive_avg_pool2d(basis, (wanted[0], wanted[1])).reshape(pixels, outputs).t()
    rows = reshaped(module, x, (batch, channels, pixels), module_of=node)
    table = add_tensor(module, "average", weight)
    shape = (batch, channels, outputs)
    sums = call(module, aten.linear.default, (rows, table), like=rows, shape=shape, module_of=node)
    return reshaped(module, sums, shape_of(node), module_of=node)


def _pair(value: Any) -> list[int]:
    given = list(value) if isinstance(value, list | tuple) else [value]
    return [int(size) for size in (given * 2)[:2]]
