"""ExecuTorch: a `.pte` whose work is done by the XNNPACK delegate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeds import program as programs
from edgeds.export import xnnpack_configs, xnnpack_graph
from edgeds.export.artifact import counted, made, require
from edgeds.export.notes import cost_notes, float_notes, outside_notes
from edgeds.export.provenance import shared_provenance
from edgeds.export.xnnpack_graph import Delegate
from edgeds.export.xnnpack_passes import needed_passes
from edgeds.spec import Artifact, Compute, Format, Layout, OperatorCount, Precision, Program

FORMAT = Format.EXECUTORCH
SUFFIX = ".pte"
PACKAGES = ("executorch", "torch", "torchao")

COMPUTE_OF = {"xnn_datatype_qint8": Compute.INT8, "xnn_datatype_fp32": Compute.FLOAT32}
CONVERT = "Convert"  # XNNPACK's name for a change of type, at the edge of a delegate


def check() -> None:
    """Raises ToolError with the pip line where executorch is missing."""
    require("executorch")


def export(program: Program, precision: Precision, path: Path) -> Artifact:
    """Lowers a program to `path`. Everything goes to XNNPACK; what does not is counted as outside and named in a note."""
    import torch
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    module = _as_xnnpack_takes_it(program, precision)
    config = EdgeCompileConfig(_check_ir_validity=False)  # a check that changes no byte and takes its time
    with shared_provenance(), needed_passes():
        exported = torch.export.export(module, tuple(torch.zeros(shape) for shape in program.input_shapes))
        edge = to_edge_transform_and_lower(exported, partitioner=[xnnpack_configs.partitioner()], compile_config=config)
        path.write_bytes(edge.to_executorch().buffer)
    plan, _ = xnnpack_graph.read(path)
    executed, outside = operators(path), _outside(plan)
    notes = (
        *float_notes(program, precision, executed, FORMAT),
        *outside_notes(program, outside),
        *cost_notes(program, precision, FORMAT),
    )
    return made(FORMAT, precision, path, Layout.NCHW, executed, PACKAGES, len(plan.delegates), outside, notes)


def _as_xnnpack_takes_it(program: Program, precision: Precision) -> Any:
    """The program as a torch.fx.GraphModule, in forms that XNNPACK has."""
    # not at import: these import torch, and so would whoever only looks at artifacts
    from edgeds.export import xnnpack_forms, xnnpack_moves
    from edgeds.export.mish import mish_in_pieces
    from edgeds.export.own_weights import own_weights
    from edgeds.export.xnnpack_layer_norm import layer_norm_in_pieces

    module = programs.to_graph_module(program)
    mish_in_pieces(module)
    layer_norm_in_pieces(module)
    shapes = {node.name: node.shape for node in program.nodes}
    xnnpack_moves.nearest_by_concatenation(module, shapes)
    xnnpack_moves.slices_without_step(module, shapes)
    xnnpack_moves.distinct_concatenation(module)
    xnnpack_moves.contiguous_permutations(module)
    if precision is Precision.INT8:
        xnnpack_forms.own_hardswish(module)
        own_weights(module)
    return module


def operators(path: Path) -> tuple[OperatorCount, ...]:
    """What the delegates of a `.pte` execute, by XNNPACK's names."""
    _, delegates = xnnpack_graph.read(path)
    return counted(pair for delegate in delegates for pair in _delegate_operators(delegate))


def _outside(plan: Any) -> tuple[str, ...]:
    """The operators that run outside of delegates, once for each call."""
    from executorch.exir.schema import KernelCall

    calls = (instruction.instr_args for chain in plan.chains for instruction in chain.instructions)
    return tuple(plan.operators[call.op_index].name for call in calls if isinstance(call, KernelCall))


def _delegate_operators(delegate: Delegate) -> Iterator[tuple[str, Compute]]:
    types = {}
    for value in delegate.graph["xvalues"]:
        fields = value["xvalue_union"]
        fields = fields.get("tensor_value", fields)
        types[fields["id_out"]] = fields["datatype"]
    for node in delegate.graph["xnodes"]:
        name = node["xnode_union_type"].removeprefix("XNN")
        fields = node["xnode_union"]
        datatype = types[fields.get("output_id", fields.get("output1_id"))]
        yield name, Compute.CONVERT if name == CONVERT else COMPUTE_OF.get(datatype, Compute.OTHER)
