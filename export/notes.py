"""Why an int8 artifact has float operators, and why an ExecuTorch program has operators outside of its delegates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeds.export.float_steps import float_steps
from edgeds.export.leftovers import KEPT_IN_FLOAT, RUNTIME, WITHOUT_KERNEL, instead, leftovers
from edgeds.spec import Compute, Format, LeftoverKind, Node, OperatorCount, Precision, Program

MAX_NAMED = 3  # steps named in one note
COST = {LeftoverKind.TRANSPOSE: "transposes", LeftoverKind.SLOW: "slow"}


def float_notes(
    program: Program, precision: Precision, operators: Sequence[OperatorCount], format: Format
) -> tuple[str, ...]:
    """A sentence for each operator that an int8 artifact computes in float; none for float artifacts."""
    if precision is Precision.FP32:
        return ()
    steps = tuple(float_steps(program))
    return tuple(
        f"{operator.name}: {operator.count} in float: {_reason(operator.name, program, steps, format)}"
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


def cost_notes(program: Program, precision: Precision, format: Format) -> tuple[str, ...]:
    """A sentence for each operator of an int8 artifact that moves values in memory or has no fast kernel."""
    if precision is Precision.FP32:
        return ()
    return tuple(
        f"{found.operator}: {len(found.places)} {COST[found.kind]}: {found.why} ({_listed(found.places)}); {found.mend}"
        for found in leftovers(program, format)
        if found.kind in COST
    )


def _reason(name: str, program: Program, steps: Sequence[Node], format: Format) -> str:
    """Why, from which steps of the model, and what would mend it."""
    named = [node for node in steps if _is_called(name, node)]
    if named and all(node.target in KEPT_IN_FLOAT for node in named):
        return f"int8 would lose its small values: {_places(named)}; {instead(named[0].target)}"
    if named:
        return f"edgeds has no int8 rule for {_places(named)}; {instead(named[0].target)}"
    without = [node for node in program.nodes if node.target in WITHOUT_KERNEL[format]]
    if without := [node for node in without if _is_called(name, node)] or without:
        kinds = dict.fromkeys(instead(node.target) for node in without)
        return f"{RUNTIME[format]} has no integer kernel for {_places(without)}; {'; '.join(kinds)}"
    if steps:
        return f"the quantized graph has float steps: {_places(steps)}; {instead(steps[0].target)}"
    return f"{RUNTIME[format]} has no integer kernel for it"


def _is_called(name: str, node: Node) -> bool:
    """Whether a step is what a runtime calls `name`: the names agree but for underscores and letters' case."""
    return node.op == "call_function" and _plain(name) == _plain(
        node.target.split(".")[1] if "." in node.target else ""
    )


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _places(steps: Sequence[Node]) -> str:
    return _listed([f"{node.target} in {node.module or node.name}" for node in steps])


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - MAX_NAMED
    return ", ".join(texts[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
