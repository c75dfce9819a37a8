"""ExecuTorch: a `.pte` whose work is done by the XNNPACK delegate."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeds import program as programs
from edgeds.errors import ToolError
from edgeds.export import xnnpack_configs, xnnpack_forms, xnnpack_moves
from edgeds.export.artifact import counted, made, require
from edgeds.export.mish import mish_in_pieces
from edgeds.export.notes import cost_notes, float_notes, outside_notes
from edgeds.export.own_weights import own_weights
from edgeds.export.provenance import shared_provenance
from edgeds.export.xnnpack_layer_norm import layer_norm_in_pieces
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
    config = EdgeCompileConfig(_check_ir_validity=False)  # a check that changes no byte and takes its time
    with shared_provenance(), needed_passes():
        exported = torch.export.export(module, tuple(torch.zeros(shape) for shape in program.input_shapes))
        edge = to_edge_transform_and_lower(exported, partitioner=[xnnpack_configs.partitioner()], compile_config=config)
        path.write_bytes(edge.to_executorch().buffer)
    plan, _ = _plan(path)
    executed, outside = operators(path), _outside(plan)
    notes = (
        *float_notes(program, precision, executed, FORMAT),
        *outside_notes(program, outside),
        *cost_notes(program, precision, FORMAT),
    )
    return made(FORMAT, precision, path, Layout.NCHW, executed, PACKAGES, len(plan.delegates), outside, notes)


def operators(path: Path) -> tuple[OperatorCount, ...]:
    """What the delegates of a `.pte` execute, by XNNPACK's names."""
    _, payloads = _plan(path)
    return counted(pair for payload in payloads for pair in _delegate_operators(payload))


def _plan(path: Path) -> tuple[Any, list[bytes]]:
    """The execution plan of a `.pte`, and the payload of each XNNPACK delegate in it."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    file = deserialize_pte_binary(path.read_bytes())
    plan = file.program.execution_plan[0]
    data = file.program.backend_delegate_data
    return plan, [bytes(data[delegate.processed.index].data) for delegate in plan.delegates]


def _outside(plan: Any) -> tuple[str, ...]:
    """The operators that run outside of delegates, once for each call."""
    from executorch.exir.schema import KernelCall

    calls = (instruction.instr_args for chain in plan.chains for instruction in chain.instructions)
    return tuple(plan.operators[call.op_index].name for call in calls if isinstance(call, KernelCall))


def _delegate_operators(payload: bytes) -> Iterator[tuple[str, Compute]]:
    graph = _delegate_graph(payload)
    types = {}
    for value in graph["xvalues"]:
        fields = value["xvalue_union"]
        fields = fields.get("tensor_value", fields)
        types[fields["id_out"]] = fields["datatype"]
    for node in graph["xnodes"]:
        name = node["xnode_union_type"].removeprefix("_XNN").removeprefix("XNN")
        fields = node["xnode_union"]
        datatype = types[fields.get("output_id", fields.get("output1_id"))]
        yield name, Compute.CONVERT if name == CONVERT else COMPUTE_OF.get(datatype, Compute.OTHER)


def _delegate_graph(payload: bytes) -> Any:
    """XNNPACK's serialized graph as JSON, read with the schema and the flatc that executorch ships."""
    import importlib.resources

    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _get_flatc_path

    header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
    start = header.flatbuffer_offset
    schema = importlib.resources.files("executorch.backends.xnnpack.serialization").joinpath("schema.fbs")
    with tempfile.TemporaryDirectory() as folder, importlib.resources.as_file(schema) as schema_path:
        binary = Path(folder) / "graph.bin"
        binary.write_bytes(payload[start : start + header.flatbuffer_size])
        command = [
            _get_flatc_path(),
            "--json",
            "--strict-json",
            "--defaults-json",
            "--raw-binary",
            "-o",
            folder,
            str(schema_path),
            "--",
            str(binary),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolError(f"flatc could not read an XNNPACK delegate: {done.stderr.strip()[-200:]}")
        text = (Path(folder) / "graph.json").read_text()
    # flatc writes inf and nan, Python reads Infinity and NaN
    return json.loads(re.sub(r"(:\s*-?)(inf|nan)\b", lambda m: m[1] + {"inf": "Infinity", "nan": "NaN"}[m[2]], text))
