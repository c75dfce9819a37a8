"""A bias whose elements are all equal gets one that differs by a rounding error, for the converter that would lose it.

litert-torch 0.10 writes a constant of one repeated value as a splat, and then quantizes a splat bias to int32 with channel 0's
scale only: every other channel of the int8 model gets a wrong offset, silently. The smallest example is a convolution of two channels
whose weights differ in size, and one number as bias:

    conv = torch.nn.Conv2d(1, 2, 1)
    conv.weight.data = torch.tensor([1.0, 0.01]).reshape(2, 1, 1, 1)
    conv.bias.data.fill_(0.5)

Its second channel is off by a hundred times its bias' step and more (tests/export/test_tflite.py runs it with and without this).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeds.spec import Array, Program

BIASED = ("aten.conv1d.default", "aten.conv2d.default", "aten.linear.default")
RELATIVE_STEP = np.float32(1e-6)  # far below an int32 bias step, and above float32's 1.2e-7


def distinct_bias(program: Program) -> Program:
    """The same program, the first element of each bias that is one repeated number (but 0) changed by 1e-6 of itself."""
    names = {node.name: node.target for node in program.nodes if node.op == "get_attr"}
    references = [node.args[2] for node in program.nodes if node.target in BIASED and len(node.args) > 2]
    biases = {names[reference["node"]] for reference in references if reference and reference["node"] in names}
    changed = {name: _changed(program.tensors[name]) for name in biases if _is_repeated(program.tensors[name])}
    return replace(program, tensors=program.tensors | changed)


def _is_repeated(bias: Array) -> bool:
    return bias.size > 1 and bias[0] != 0 and bool((bias == bias[0]).all())


def _changed(bias: Array) -> Array:
    copy = bias.copy()
    copy[0] *= 1 + RELATIVE_STEP
    return copy
