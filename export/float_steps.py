"""The steps of a quantized graph that compute in float: what has no int8 rule, or is not between int8 tensors.

What is not in these tables counts as float: a converter that knows an operator in integers is no reason to believe that it does here.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeds.program import CONVERSIONS, QUANTIZE, references
from edgeds.spec import Node, Program

CLAMPS = {"aten.relu.default", "aten.relu6.default", "aten.hardtanh.default", "aten.clamp.default"}
WEIGHTED = {"aten.conv1d.default", "aten.conv2d.default", "aten.linear.default"}
# The operators that annotation has an int8 rule for (quantize/annotate.py; tests/export/test_float_steps.py holds both together).
RULES = {
    *CLAMPS,
    *WEIGHTED,
    *(f"aten.{name}.Tensor" for name in ("add", "mul", "slice")),
    *(f"aten.{name}.default" for name in ("sigmoid", "tanh", "gelu", "leaky_relu", "elu", "hardswish", "mish", "layer_norm")),
    *(f"aten.{name}.default" for name in ("cat", "maximum", "minimum", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")),
    *(f"aten.{name}.default" for name in ("view", "reshape", "unsqueeze", "permute", "pad", "constant_pad_nd")),
    *("aten.where.self", "aten.mean.dim", "aten.flatten.using_ints", "aten.squeeze.dim", "aten.squeeze.dims"),
    *("aten.transpose.int", "aten.upsample_nearest2d.vec", "aten.upsample_bilinear2d.vec"),
}  # fmt: skip


def float_steps(program: Program) -> Iterator[Node]:
    """The steps that are no integer operators, in order: without a rule, fed in float, or with a value that is used in float."""
    users: dict[str, list[Node]] = {node.name: [] for node in program.nodes}
    for node in program.nodes:
        for name in references(node.args):
            users[name].append(node)
    by_name = {node.name: node for node in program.nodes}
    for node in program.nodes:
        if node.op == "call_function" and not node.target.startswith(CONVERSIONS):
            ruled = node.target in RULES and _is_fed_integers(node, by_name)
            if not ruled or not _gives_integers(node, users):
                yield node


def keeps_layers(program: Program) -> bool:
    """Whether layers that have an int8 rule stand in a quantized graph with float weights: they were to stay in float (`--keep-float`)."""
    by_name = {node.name: node for node in program.nodes}
    weights = (by_name[list(references(node.args))[1]] for node in program.nodes if node.target in WEIGHTED)
    return any(weight.op == "get_attr" for weight in weights)  # int8 weights are read by a dequantize


def _is_fed_integers(node: Node, by_name: dict[str, Node]) -> bool:
    """Whether each float that a step reads is a dequantized value or a constant, or of a clamp what its producer hands on."""
    for name in references(node.args):
        source = by_name[name]
        if source.dtype != "float32" or source.op == "get_attr" or source.target.startswith(CONVERSIONS):
            continue
        if node.target in CLAMPS and source.target in RULES and _is_fed_integers(source, by_name):
            continue
        return False
    return True


def _gives_integers(node: Node, users: dict[str, list[Node]]) -> bool:
    """Whether a step's value, or that of the clamp which alone reads it, is quantized by everything that reads it."""
    readers = users[node.name]
    if len(readers) == 1 and readers[0].target in CLAMPS:
        readers = users[readers[0].name]
    return bool(readers) and all(reader.target == QUANTIZE for reader in readers)
