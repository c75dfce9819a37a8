"""Layers that XNNPACK refuses for their scales.

An int8 layer multiplies its sums by input scale · weight scale / output scale. XNNPACK takes factors below 256 (its convolution and
fully connected operators: "requantization scale is greater or equal to 256.0"), and neither ExecuTorch nor LiteRT loads a program with a
larger one. It takes weights that the channels of the layer before differ in by orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeds.export.float_steps import CLAMPS
from edgeds.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, references
from edgeds.spec import Format, Node, Program

REFUSING = {Format.EXECUTORCH, Format.TFLITE}
LARGEST_FACTOR = 256.0
WEIGHTED = {"aten.conv1d.default", "aten.conv2d.default", "aten.linear.default"}
MEND = "train it with batch-norm or weight decay, or scale the channels of the layer before to one size and this layer's weights back"


def too_large(program: Program, format: Format) -> Iterator[tuple[Node, float]]:
    """Each layer whose factor the format's runtime refuses, with the factor."""
    if format not in REFUSING:
        return
    by_name = {node.name: node for node in program.nodes}
    for node in program.nodes:
        factor = _factor(program, by_name, node) if node.target in WEIGHTED else None
        if factor is not None and factor >= LARGEST_FACTOR:
            yield node, factor


def said(factor: float) -> str:
    """Why such a layer is refused."""
    return f"its sums are to be multiplied by {factor:.2g} to fit its output, and XNNPACK takes less than {LARGEST_FACTOR:g}"


def _factor(program: Program, by_name: dict[str, Node], node: Node) -> float | None:
    """A layer's largest factor; None where it is not computed in integers."""
    image, weight = (by_name[argument["node"]] for argument in node.args[:2])
    output = _quantize(program, node)
    if image.target != DEQUANTIZE or weight.target != DEQUANTIZE_CHANNELS or output is None:
        return None
    scales = program.tensors[by_name[weight.args[1]["node"]].target]
    return float(image.args[1]) * float(scales.max()) / float(output.args[1])


def _quantize(program: Program, node: Node) -> Node | None:
    """What quantizes a layer's value, or that of the clamp behind it."""
    reader = next((other for other in program.nodes if node.name in references(other.args)), None)
    if reader is not None and reader.target in CLAMPS:
        return _quantize(program, reader)
    return reader if reader is not None and reader.target == QUANTIZE else None
