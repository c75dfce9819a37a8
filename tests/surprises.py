"""Whether an int8 artifact is what edgeds foretold of it: for tests of many models, and for the coverage bench."""

from __future__ import annotations

from math import prod

from edgeds.export.leftovers import leftovers
from edgeds.leftover import LeftoverKind
from edgeds.program import output_shapes, references
from edgeds.spec import Artifact, Compute, Format, Program


def transposes(artifact: Artifact, graph: Program) -> int:
    """How many operators inside of an artifact only turn images: XNNPACK turns them at both ends, and those of one pixel for nothing."""
    count = sum(o.count for o in artifact.operators if o.name.lower().endswith("transpose"))
    ends = sum(len(shape) == 4 for shape in (*graph.input_shapes, *output_shapes(graph)))
    return count - (ends + _pixels_reshaped(graph)) * (artifact.format is Format.EXECUTORCH)


def surprises(artifact: Artifact, graph: Program) -> tuple[str, ...]:
    """A phrase for each kind of leftover that was foretold and is not there, or is there and was not.

    Transposes are judged in ONNX: the converters to channels last find ways around some, and turn images around what is float.
    """
    kinds = {leftover.kind for leftover in leftovers(graph, artifact.format)}
    in_float = artifact.count(Compute.FLOAT32) > 0
    found = {
        LeftoverKind.OUTSIDE: bool(artifact.outside) or artifact.delegates > 1,
        LeftoverKind.FLOAT: in_float or bool(artifact.outside),
        LeftoverKind.TRANSPOSE: transposes(artifact, graph) > 0,
    }
    outside = {LeftoverKind.OUTSIDE, LeftoverKind.BEHIND}
    foretold = {
        LeftoverKind.OUTSIDE: bool(kinds & outside),
        LeftoverKind.FLOAT: bool(kinds & {LeftoverKind.FLOAT, *outside}),
        LeftoverKind.TRANSPOSE: LeftoverKind.TRANSPOSE in kinds,
    }
    return tuple(
        f"{kind} {'appeared' if there else 'did not appear'} in {artifact.format}"
        for kind, there in found.items()
        if there != foretold[kind] and not (kind is LeftoverKind.TRANSPOSE and artifact.format is not Format.ONNX)
    )


def _pixels_reshaped(graph: Program) -> int:
    """Reshapes of images of one pixel, to vectors or back."""
    shapes = {node.name: node.shape for node in graph.nodes}
    count = 0
    for node in graph.nodes:
        if node.target == "aten.reshape.default":
            both = (shapes[next(references(node.args))], node.shape)
            count += any(len(shape) == 4 and prod(shape[2:]) == 1 for shape in both)
    return count
