"""A program whose layers can be watched: what stands between its layers becomes outputs too, in any format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgeds.program import DEQUANTIZE, QUANTIZE, output_nodes, references
from edgeds.spec import Node, Program

PLACEHOLDER = "placeholder"


@dataclass(frozen=True, slots=True)
class Tap:
    """A value inside a program.

    `step` computes it and `output` is the node that a tapped program returns: in a quantized graph a quantize and its dequantize, then
    `scale` and `zero_point` are its, else both the same node. `operator`, `module` and `source` say which layer gives the value.
    """

    step: str
    output: str
    operator: str
    module: str
    source: str
    scale: float | None = None
    zero_point: int = 0


def taps(program: Program) -> tuple[Tap, ...]:
    """Every quantized activation of a quantized graph and its float outputs, every float value of a float one.

    Inputs and constants are left out, and what has no batch as its first axis (within a pixel shuffle), for outputs must have one.
    """
    quantized = tuple(_quantized(program))
    found = (*quantized, *_float_outputs(program)) if quantized else tuple(_float(program))
    shapes = {node.name: node.shape for node in program.nodes}
    return tuple(tap for tap in found if shapes[tap.output][:1] == (program.batch,))


def returned(program: Program) -> tuple[str, ...]:
    """The nodes whose values the tapped program returns: each tap's, then the outputs that are none of them."""
    return tuple(
        dict.fromkeys((*(tap.output for tap in taps(program)), *(node.name for node in output_nodes(program))))
    )


def tapped(program: Program) -> Program:
    """The same program with a tap's value as an output each, in order, before the outputs that are none of them.

    A dequantize that a layer reads as well is there once more for the output: ExecuTorch's channels-last pass fails on one with both.
    """
    *steps, last = program.nodes
    by_name = {node.name: node for node in steps}
    names = returned(program)
    copies = {name: f"{name}_tap" for name in names if by_name[name].target == DEQUANTIZE}
    extra = tuple(replace(by_name[name], name=copy) for name, copy in copies.items())
    outputs = [{"node": copies.get(name, name)} for name in names]
    return replace(program, nodes=(*steps, *extra, replace(last, args=[outputs])))


def _quantized(program: Program) -> Iterator[Tap]:
    by_name = {node.name: node for node in program.nodes}
    readers: dict[str, Node] = {}
    for node in program.nodes:
        if node.target == DEQUANTIZE:
            readers.setdefault(node.args[0]["node"], node)
    for node in program.nodes:
        if (
            node.target == QUANTIZE
            and node.name in readers
            and (source := by_name[node.args[0]["node"]]).op != PLACEHOLDER
        ):
            scale, zero_point = node.args[1:3]
            origin = (source.target, source.module, source.source)
            yield Tap(node.name, readers[node.name].name, *origin, float(scale), int(zero_point))


def _float_outputs(program: Program) -> Iterator[Tap]:
    """The outputs that layers of a quantized graph give in float."""
    for node in {node.name: node for node in output_nodes(program)}.values():
        if node.op == "call_function" and node.dtype == "float32" and node.target != DEQUANTIZE:
            yield Tap(node.name, node.name, node.target, node.module, node.source)


def _float(program: Program) -> Iterator[Tap]:
    """Each value once: of a chain that only renames (views), the first."""
    for node in program.nodes:
        if node.op == "call_function" and node.dtype == "float32" and any(references(node.args)):
            yield Tap(node.name, node.name, node.target, node.module, node.source)
