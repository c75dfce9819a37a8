"""Why an int8 artifact has float operators, and why an ExecuTorch program has operators outside of its delegates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeds.export.float_steps import RULES, WEIGHTED, float_steps, keeps_layers
from edgeds.export.leftovers import KEPT_IN_FLOAT, RUNTIME, WITHOUT_KERNEL, instead, is_outside, leftovers, place
from edgeds.leftover import LeftoverKind
from edgeds.program import QUANTIZE, references
from edgeds.spec import Compute, Format, Node, OperatorCount, Precision, Program

MAX_NAMED = 3  # steps named in one note
COST = {LeftoverKind.TRANSPOSE: "transposes", LeftoverKind.SLOW: "slow"}


def float_notes(
    program: Program, precision: Precision, operators: Sequence[OperatorCount], format: Format
) -> tuple[str, ...]:
    """A sentence for each operator that an int8 artifact computes in float, and one for all that were to; none for float artifacts."""
    if precision is Precision.FP32:
        return ()
    steps = tuple(float_steps(program))
    kept = keeps_layers(program)
    floats = [operator for operator in operators if operator.compute is Compute.FLOAT32]
    without = [node for node in program.nodes if node.target in WITHOUT_KERNEL[format]]
    # what no operator has the name of stands in the artifact in pieces of other names
    pieces = [node for node in without if not any(_is_called(operator.name, node) for operator in floats)]
    notes = (
        _as_asked(steps)
        if kept and _is_asked_for(operator.name, steps)
        else f"{operator.name}: {operator.count} in float: {_reason(operator.name, steps, without, pieces, format)}"
        for operator in floats
    )
    return tuple(dict.fromkeys(notes))


def outside_notes(program: Program, outside: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each operator outside of ExecuTorch's delegates: what has no step's name is a piece of one that is left."""
    left = [node for node in _in_float(program, Format.EXECUTORCH) if is_outside(node)]
    notes = []
    for name, count in sorted(Counter(outside).items()):
        plain = name.split("::")[-1].partition(".")[0]
        steps = [node for node in program.nodes if _is_called(plain, node)] or left
        places = f" (from {_places(steps)}); {_instead(steps)}" if steps else ""
        notes.append(f"{name}: {count} outside of the delegates: XNNPACK does not take it{places}")
    return tuple(notes)


def float_input_notes(program: Program, precision: Precision) -> tuple[str, ...]:
    """A sentence for each input of an int8 artifact that stays float32 because a step reads it in float."""
    if precision is Precision.FP32:
        return ()
    notes = []
    for name in (node.name for node in program.nodes if node.op == "placeholder"):
        steps = [node for node in program.nodes if name in references(node.args)]
        steps = [node for node in steps if node.op == "call_function" and node.target != QUANTIZE]
        if steps:
            mend = "as --keep-float asks" if keeps_layers(program) and _have_rules(steps) else _instead(steps)
            notes.append(f"input {name} stays float32, for {_places(steps)} reads it in float; {mend}")
    return tuple(notes)


def _in_float(program: Program, format: Format) -> list[Node]:
    return [*float_steps(program), *(node for node in program.nodes if node.target in WITHOUT_KERNEL[format])]


def cost_notes(program: Program, precision: Precision, format: Format) -> tuple[str, ...]:
    """A sentence for each operator of an int8 artifact that moves values in memory or has no fast kernel."""
    if precision is Precision.FP32:
        return ()
    return tuple(
        f"{found.operator}: {len(found.places)} {COST[found.kind]}: {found.why} ({_listed(found.places)}); {found.mend}"
        for found in leftovers(program, format)
        if found.kind in COST
    )


def _is_asked_for(name: str, steps: Sequence[Node]) -> bool:
    """Whether all that an operator can be is what was to stay in float: a layer, or what a runtime puts before or behind one."""
    left = [node for node in steps if _is_called(name, node)] or steps
    return bool(left) and _have_rules(left)


def _as_asked(steps: Sequence[Node]) -> str:
    left = [node for node in steps if node.target in RULES]
    left.sort(key=lambda node: node.target not in WEIGHTED)  # those that were named before what stands around them
    return f"--keep-float leaves {_places(left)} in float"


def _reason(name: str, steps: Sequence[Node], without: Sequence[Node], pieces: Sequence[Node], format: Format) -> str:
    """Why, from which steps of the model, and what would mend it."""
    named = [node for node in steps if _is_called(name, node)]
    if named and all(node.target in KEPT_IN_FLOAT for node in named):
        return f"int8 would lose its small values: {_places(named)}; {_instead(named)}"
    if named:
        return f"edgeds has no int8 rule for {_places(named)}; {_instead(named)}"
    if known := [node for node in without if _is_called(name, node)] or pieces:
        return f"{RUNTIME[format]} has no integer kernel for {_places(known)}; {_instead(known)}"
    if steps:
        return f"the quantized graph has float steps: {_places(steps)}; {_instead(steps)}"
    return f"{RUNTIME[format]} has no integer kernel for it"


def _instead(steps: Sequence[Node]) -> str:
    return "; ".join(dict.fromkeys(instead(node.target) for node in steps))


def _have_rules(steps: Sequence[Node]) -> bool:
    return all(node.target in RULES for node in steps)


def _is_called(name: str, node: Node) -> bool:
    """Whether a step is what a runtime calls `name`: the names agree but for underscores and letters' case (and LayerNormalization)."""
    operator = _plain(node.target.split(".")[1] if "." in node.target else "")
    return node.op == "call_function" and _plain(name) in (operator, f"{operator}alization")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _places(steps: Sequence[Node]) -> str:
    return _listed([f"{node.target} in {place(node)}" for node in steps])


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - MAX_NAMED
    return ", ".join(texts[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
