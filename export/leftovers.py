"""What a format will not compute in integers, within one delegate, and fast: read from the quantized graph, before any converter works.

Each entry says which steps of the user's model it is about and what would mend it. `edgeds inspect --formats` and the notes of an artifact
both come from here; tests/test_leftovers.py holds it against artifacts that were lowered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod

from edgeds.export import requantization
from edgeds.export.float_steps import float_steps
from edgeds.export.refusal import lacking
from edgeds.leftover import Leftover, LeftoverKind
from edgeds.program import CONVERSIONS, references
from edgeds.spec import Format, Node, Program

RUNTIME = {Format.EXECUTORCH: "XNNPACK", Format.ONNX: "ONNX Runtime", Format.TFLITE: "LiteRT"}

# Steps of the quantized graph that stand between int8 tensors, and that a runtime computes in float all the same.
_NOWHERE = {"aten.mish.default", "aten.layer_norm.default"}
_CHOSEN = {"aten.where.self", "aten.maximum.default", "aten.minimum.default"}
WITHOUT_KERNEL = {
    Format.EXECUTORCH: {*_NOWHERE, *_CHOSEN, "aten.upsample_bilinear2d.vec"},
    Format.ONNX: {*_NOWHERE, *_CHOSEN, "aten.gelu.default", "aten.elu.default", "aten.upsample_bilinear2d.vec"},
    Format.TFLITE: {*_NOWHERE, "aten.elu.default"},
}
# Steps without int8 rule that a runtime computes from the int8 values all the same.
FROM_INTEGERS = {Format.ONNX: {"aten.argmax.default"}, Format.TFLITE: {"aten.argmax.default"}}
# Left in float on purpose: LiteRT demands steps of 1/256 (993 of EfficientNet-Lite0's 1000 probabilities would be 0; where none is large,
# all), and XNNPACK has no int8 softmax. Behind the last layer it costs nothing.
KEPT_IN_FLOAT = {"aten.softmax.int", "aten.log_softmax.int"}
# What XNNPACK's delegate takes in float, by ATen's names without overloads: an island of these does not split it.
DELEGATED_IN_FLOAT = {
    *("abs", "add", "ceil", "clamp", "div", "elu", "exp", "floor", "gelu", "hardswish", "hardtanh", "layer_norm", "leaky_relu"),
    *("linear", "log", "maximum", "mean", "minimum", "mish", "mul", "neg", "pow", "relu", "relu6", "rsqrt", "sigmoid", "softmax"),
    *("sqrt", "sub", "tanh", "cat", "constant_pad_nd", "conv2d", "max_pool2d", "permute", "reshape", "slice", "upsample_bilinear2d"),
    *("bmm", "matmul", "mm", "cos", "sin", "square", "rsub", "unsqueeze", "squeeze", "view", "flatten", "transpose"),
}  # fmt: skip
PERMUTATIONS = {"permute", "transpose"}
RESHAPES = {"reshape", "view", "flatten"}
# What computes nothing: it is float because what it reads is.
HAND_ON = {*PERMUTATIONS, *RESHAPES, "getitem", "squeeze", "unsqueeze", "slice"}
NOT_TAKEN = "XNNPACK does not take it"
# XNNPACK has depthwise kernels of up to 25 taps; what is larger runs as a grouped convolution, channel by channel.
MOST_TAPS = 25

INSTEAD = {
    "aten.gelu.default": "SiLU or hardswish in its place is integer in every format (fine-tune the model with it)",
    "aten.mish.default": "SiLU or hardswish in its place is integer in every format (fine-tune the model with it)",
    "aten.elu.default": "leaky_relu in its place is integer in every format (fine-tune the model with it)",
    "aten.layer_norm.default": "batch-norm in its place folds into the convolution before it (train the model with it)",
    "aten.upsample_bilinear2d.vec": "mode='nearest' is integer in every format",
    "aten.softmax.int": "return the logits, and compute it in the app; behind the last layer it costs next to nothing",
    "aten.log_softmax.int": "return the logits, and compute it in the app; behind the last layer it costs next to nothing",
}
INSTEAD |= dict.fromkeys(
    (f"aten.{name}.{overload}" for name in ("gt", "ge", "lt", "le", "eq", "ne") for overload in ("Scalar", "Tensor")),
    "a product with a gate (sigmoid, hardsigmoid) or a clamp in place of the mask is integer in every format",
)
INSTEAD["aten.where.self"] = INSTEAD["aten.gt.Scalar"]
OTHERWISE = "compute it before or behind the model, or write it with operators that are integer here"
TURN_LESS = "keep images channels first and whole between convolutions"
SMALLER = "5x5, or 3x3 layers after each other, are many times faster there; ONNX Runtime has a fast kernel for it"


def leftovers(program: Program, format: Format) -> tuple[Leftover, ...]:
    """What is left of a quantized graph in a format, the worst first."""
    float_now = _float_now(program, format)
    outside = [n for n in float_now if format is Format.EXECUTORCH and is_outside(n)]
    behind = _behind(program, outside)
    runtime = RUNTIME[format]
    return (
        *_each(LeftoverKind.REFUSED, lacking(program, format), lambda n: f"{runtime} has no such operator"),
        *(
            Leftover(LeftoverKind.REFUSED, n.target, (place(n),), requantization.said(factor), requantization.MEND)
            for n, factor in requantization.too_large(program, format)
        ),
        *_each(
            LeftoverKind.OUTSIDE,
            (n for n in outside if n not in behind),
            lambda n: f"{NOT_TAKEN}: the delegate is split there",
        ),
        *_each(LeftoverKind.BEHIND, behind, lambda n: f"{NOT_TAKEN}: it runs behind the delegate"),
        *_each(LeftoverKind.FLOAT, (n for n in float_now if n not in outside), lambda n: _why_float(n, format)),
        *_each(
            LeftoverKind.TRANSPOSE,
            _turns(program, format),
            lambda n: "it moves every value in memory, unless the converter finds a way around",
            TURN_LESS,
        ),
        *_each(LeftoverKind.SLOW, _slow(program, format), _why_slow, SMALLER),
    )


def _float_now(program: Program, format: Format) -> list[Node]:
    """The steps that a format computes in float, without those that only hand on what such a step gives: they go when it goes."""
    unruled = [n for n in float_steps(program) if n.target not in FROM_INTEGERS.get(format, ())]
    known = {n.name for n in unruled}
    found = [*unruled, *(n for n in program.nodes if n.target in WITHOUT_KERNEL[format] and n.name not in known)]
    return [n for n in found if _name(n) not in HAND_ON] or found


def _behind(program: Program, outside: Sequence[Node]) -> list[Node]:
    """Those of the steps outside of the delegate from which nothing goes back into it."""
    names = {node.name for node in outside}
    inside: set[str] = set()  # what the delegate needs
    for node in reversed(program.nodes):
        computes = node.op == "call_function" and node.name not in names and _name(node) not in HAND_ON
        if computes or node.name in inside:
            inside.update(references(node.args))
    return [node for node in outside if node.name not in inside]


def _each(kind: LeftoverKind, steps: Iterable[Node], why: Callable[[Node], str], mend: str = "") -> Iterator[Leftover]:
    """One entry for each operator and reason among the steps."""
    groups: dict[tuple[str, str], list[Node]] = {}
    for node in steps:
        groups.setdefault((node.target, why(node)), []).append(node)
    for (operator, reason), nodes in groups.items():
        places = tuple(place(node) for node in nodes)
        yield Leftover(kind, operator, places, reason, mend or instead(operator))


def is_outside(node: Node) -> bool:
    """Whether XNNPACK's delegate does not take a step in float either."""
    return _name(node) not in DELEGATED_IN_FLOAT


def place(node: Node) -> str:
    """Where a step comes from: the user's module, else the line of the user's code, else its name in the graph."""
    return node.module or node.source or node.name


def instead(operator: str) -> str:
    """What to do about an operator that is not integer."""
    return INSTEAD.get(operator, OTHERWISE)


def _why_float(node: Node, format: Format) -> str:
    if node.target in KEPT_IN_FLOAT:
        return "int8 would lose its small values"
    if node.target in WITHOUT_KERNEL[format]:
        return f"{RUNTIME[format]} has no integer kernel for it"
    return "edgeds has no int8 rule for it"


def _turns(program: Program, format: Format) -> Iterator[Node]:
    """Steps that move values in memory: permutations, and where images are channels last, what reshapes one with more than one pixel.

    There the permutations around a layer-norm are none: it finds the channels last already.
    """
    shapes = {node.name: node.shape for node in program.nodes}
    free = set() if format is Format.ONNX else _around_layer_norms(program)
    for node in program.nodes:
        if _name(node) in PERMUTATIONS and node.name not in free:
            yield node
        elif _name(node) in RESHAPES and format is not Format.ONNX:
            before = shapes.get(next(references(node.args), ""), ())
            if _is_turned(before, node.shape) or _is_turned(node.shape, before):
                yield node


def _around_layer_norms(program: Program) -> set[str]:
    """The permutations that a layer-norm reads, or that read one, but for changes of scale between them."""
    by_name = {node.name: node for node in program.nodes}

    def source(node: Node) -> Node:
        found = by_name[next(references(node.args))]
        return source(found) if found.target.startswith(CONVERSIONS) else found

    turns = [node for node in program.nodes if _name(node) in PERMUTATIONS]
    norms = [node for node in program.nodes if _name(node) == "layer_norm"]
    return {source(norm).name for norm in norms} | {turn.name for turn in turns if source(turn) in norms}


def _is_turned(image: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether a channels-last image with several channels and pixels becomes something whose values lie channel by channel."""
    if len(image) != 4 or image[1] == 1 or prod(image[2:]) == 1:
        return False
    return len(other) != 4 or image[:2] != other[:2]


def _slow(program: Program, format: Format) -> Iterator[Node]:
    """Depthwise convolutions that XNNPACK, which LiteRT uses too, has no depthwise kernel for."""
    if format is Format.ONNX:
        return
    shapes = {node.name: node.shape for node in program.nodes}
    for node in program.nodes:
        if _name(node) != "conv2d":
            continue
        inputs, (_, per_group, *kernel) = shapes[node.args[0]["node"]][1], shapes[node.args[1]["node"]]
        if per_group == 1 and inputs > 1 and prod(kernel) > MOST_TAPS:
            yield node


def _why_slow(node: Node) -> str:
    return f"XNNPACK has no depthwise kernel of more than {MOST_TAPS} taps"


def _name(node: Node) -> str:
    """`conv2d` of `aten.conv2d.default`; `getitem` has no other name."""
    return node.target.split(".")[1] if "." in node.target else node.target
