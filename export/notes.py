"""Why an int8 artifact has float operators, and why an ExecuTorch program has operators outside of its delegates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from edgeds.program import references
from edgeds.spec import Compute, Node, OperatorCount, Precision, Program

CONVERSIONS = "quantized_decomposed."
QUANTIZE = "quantized_decomposed.quantize_per_tensor.default"
MAX_NAMED = 3  # steps named in one note
# Left in float on purpose: LiteRT demands steps of 1/256 (993 of EfficientNet-Lite0's 1000 probabilities would be 0; where none is large,
# all), and XNNPACK has no int8 softmax. Behind the last layer it costs nothing.
KEPT_IN_FLOAT = {"aten.softmax.int", "aten.log_softmax.int"}
# int8 steps of the quantized graph that a runtime computes in float, as operators of other names.
IN_PIECES = {
    "XNNPACK": {"aten.mish.default", "aten.layer_norm.default"},
    "ONNX Runtime": {"aten.mish.default", "aten.layer_norm.default"},
    "LiteRT": {"aten.mish.default", "aten.layer_norm.default", "aten.elu.default"},
}


def float_notes(
    program: Program, precision: Precision, operators: Sequence[OperatorCount], runtime: str
) -> tuple[str, ...]:
    """A sentence for each operator that an int8 artifact computes in float; none for float artifacts."""
    if precision is Precision.FP32:
        return ()
    steps = tuple(_float_steps(program))
    return tuple(
        f"{operator.name}: {operator.count} in float: {_reason(operator.name, program, steps, runtime)}"
        for operator in operators
        if operator.compute is Compute.FLOAT32
    )


def outside_notes(program: Program, outside: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each operator outside of ExecuTorch's delegates."""
    notes = []
    for name, count in sorted(Counter(outside).items()):
        steps = [node for node in program.nodes if _is_called(name.split("::")[-1].partition(".")[0], node)]
        places = f" (from {_places(steps)})" if steps else ""
        notes.append(f"{name}: {count} outside of the delegates: XNNPACK does not take it{places}")
    return tuple(notes)


def _reason(name: str, program: Program, steps: Sequence[Node], runtime: str) -> str:
    named = [node for node in steps if _is_called(name, node)]
    if named and all(node.target in KEPT_IN_FLOAT for node in named):
        return f"int8 would lose its small values: {_places(named)}"
    if named:
        return f"edgeds has no int8 rule for {_places(named)}"
    whole = [node for node in program.nodes if node.target in IN_PIECES[runtime]]
    if whole and not any(_is_called(name, node) for node in program.nodes):
        return f"{runtime} has no integer kernel for {_places(whole)}"
    if steps:
        return f"the quantized graph has float steps: {_places(steps)}"
    return f"{runtime} has no integer kernel for it"


def _is_called(name: str, node: Node) -> bool:
    """Whether a step is what a runtime calls `name`: the names agree but for underscores and letters' case."""
    return node.op == "call_function" and _plain(name) == _plain(
        node.target.split(".")[1] if "." in node.target else ""
    )


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _places(steps: Sequence[Node]) -> str:
    texts = [f"{node.target} in {node.module or node.name}" for node in steps[:MAX_NAMED]]
    more = len(steps) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def _float_steps(program: Program) -> Iterator[Node]:
    """The steps of a quantized graph whose value is used in float: neither they nor the clamp behind them are quantized."""
    users: dict[str, list[Node]] = {node.name: [] for node in program.nodes}
    for node in program.nodes:
        for name in references(node.args):
            users[name].append(node)
    for node in program.nodes:
        readers = users[node.name]
        clamp = readers[0].name if len(readers) == 1 else node.name
        if node.op == "call_function" and not node.target.startswith(CONVERSIONS):
            quantized = all(reader.target == QUANTIZE for reader in readers) and readers
            behind = all(reader.target == QUANTIZE for reader in users[clamp]) and users[clamp]
            if not quantized and not behind:
                yield node
