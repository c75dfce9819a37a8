"""ONNX: a quantize-dequantize model that ONNX Runtime turns into integer kernels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeds import program as programs
from edgeds.export import onnx_rewrites
from edgeds.export.artifact import counted, made, require
from edgeds.export.notes import cost_notes, float_notes
from edgeds.export.onnx_clamps import quantize_before_clamps
from edgeds.export.onnx_forms import integer_clip, tanh_as_sigmoid
from edgeds.export.onnx_pads import integer_pads
from edgeds.export.onnx_tables import tables_to_uint8
from edgeds.spec import Artifact, Compute, Format, Layout, OperatorCount, Precision, Program

FORMAT = Format.ONNX
SUFFIX = ".onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "torch")

# What activations are stored as; the real values are identical. ORT on x86 fuses residual adds only with uint8 (37 of MobileNetV2's 52
# convolutions become integer kernels with int8, 52 with uint8), so that with int8 a host would validate another computation than the
# device's. Estimated time with int8 / with uint8 of MobileNetV1, V2, V3-small, EfficientNet-Lite0 (tests/bench/activation_types.py):
# A53 1.11 1.04 1.01 1.05, A55 0.96 0.85 0.91 0.91, A72 0.97 0.97 0.97 0.98, A73 1.08 1.03 0.99 1.03, A76 0.95 0.96 0.96 0.96,
# A78 0.96 0.95 0.97 0.96. But for the A55 that is within 5 % or against int8, and all of it within the estimate's own interval.
UINT8_ACTIVATIONS = True

CONVERTS = {"QuantizeLinear", "DequantizeLinear"}
INTEGER_OUTPUT = {"QuantizeLinear", "QGemm", "ConvInteger", "MatMulInteger"}
FLOAT_OUTPUT = {"DequantizeLinear"}


def check() -> None:
    """Raises ToolError with the pip line where a library is missing."""
    require("onnx", "onnxscript", "onnxruntime")


def export(program: Program, precision: Precision, path: Path) -> Artifact:
    """Writes the program as ONNX to `path`, rewritten for ORT and checked with onnx.checker's full check."""
    import onnx
    import torch

    module = programs.to_graph_module(program)
    exported = torch.export.export(module, tuple(torch.zeros(shape) for shape in program.input_shapes))
    names = [node.name for node in program.nodes if node.op == "placeholder"]
    converted = torch.onnx.export(
        exported,
        (),
        input_names=names,
        output_names=_output_names(program),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert converted is not None
    model = converted.model_proto
    onnx_rewrites.strip_metadata(model)
    if precision is Precision.INT8:
        onnx_rewrites.fold_pads(model)
        onnx_rewrites.mean_to_global_average_pool(model)
        if UINT8_ACTIVATIONS:
            onnx_rewrites.activations_to_uint8(model)
            tables_to_uint8(model)
        integer_pads(model)
        tanh_as_sigmoid(model)
        quantize_before_clamps(model)
        integer_clip(model)
        onnx_rewrites.own_constants(model)
    onnx_rewrites.remove_unused(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    executed = operators(path)
    notes = (*float_notes(program, precision, executed, FORMAT), *cost_notes(program, precision, FORMAT))
    return made(FORMAT, precision, path, Layout.NCHW, executed, PACKAGES, notes=notes)


def _output_names(program: Program) -> list[str]:
    """What the user's forward calls its outputs, numbers where a tensor or a step already has such a name."""
    taken = {*program.tensors, *(node.name for node in program.nodes if node.op != "output")}
    if program.output_names and not taken & set(program.output_names):
        return list(program.output_names)
    count = len(programs.output_nodes(program))
    return ["output"] if count == 1 else [f"output_{k}" for k in range(count)]


def operators(path: Path) -> tuple[OperatorCount, ...]:
    """What ONNX Runtime executes on this machine's CPU: read from the graph after its own optimizations."""
    return counted(_optimized_operators(path))


def _optimized_operators(path: Path) -> Iterator[tuple[str, Compute]]:
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        # EXTENDED is the last level whose graph is independent of the CPU's vector width.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    types = onnx_rewrites.known_types(model)
    for node in model.graph.node:
        if node.op_type in INTEGER_OUTPUT or node.op_type.startswith("QLinear"):
            compute = Compute.INT8
        elif node.op_type in FLOAT_OUTPUT:
            compute = Compute.FLOAT32
        else:  # an operator that ORT has for many types: it works in the type of what it is given
            compute = types.get(node.input[0], Compute.OTHER) if node.input else Compute.OTHER
        types.update(dict.fromkeys(node.output, compute))
        yield node.op_type, Compute.CONVERT if node.op_type in CONVERTS else compute
